"""Triple preference optimisation by lengths."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.methods.preference.tpo import tpo


def tpo_l(beta: float = 0.01, gamma: float = 0.5, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(L_w - L_l) - gamma) - alpha·log p(y_gold) per row, L the log-prob per token.

    No reference. gamma > 0 is the margin to exceed; otherwise as `tpo`.

    Errors: BadConfig unless all are finite and above 0; BadComposition without lengths. Source:
    saeidi:25.

    >>> tpo_l().margin.constant
    0.5
    """
    gap = replace(margins.mean_log_prob_gap, constant=positive("gamma", gamma))
    return replace(tpo(beta, alpha), name="tpo_l", margin=gap)
