"""Simple preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.methods.preference._reference_free import reference_free


def simpo(beta: float = 2.0, gamma: float = 1.0) -> Method:
    """-log sigmoid(beta·(L_w - L_l) - gamma) per pair, L = log p(y)/|y|.

    No reference. beta about 2 to 10 (per token), gamma > 0 the margin that the chosen answer must be
    ahead by. TRL's CPO trainer adds a likelihood term unless `cpo_alpha` is 0.

    Errors: BadConfig unless both are finite and above 0; BadComposition without lengths. Source:
    meng:24.

    >>> simpo(2.5, 1.4).margin.constant
    1.4
    """
    margin = replace(margins.mean_log_prob_gap, constant=positive("gamma", gamma))
    return reference_free("simpo", margin, beta=beta, source="meng:24")
