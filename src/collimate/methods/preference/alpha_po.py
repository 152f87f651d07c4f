"""SimPO with a reward that bends with the log-prob."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.methods.preference._reference_free import reference_free


def alpha_po(beta: float = 2.0, gamma: float = 1.0, alpha: float = 0.25) -> Method:
    """-log sigmoid(beta·(R_w - R_l) - gamma) per pair, R = (1 - e^{-alpha·L})/alpha, L = log p(y)/|y|.

    No reference. alpha of either sign, not 0; towards 0 it is SimPO.

    Errors: BadConfig unless beta and gamma are above 0 and alpha is finite and not 0; BadComposition
    without lengths. Source: gupta:25.

    >>> alpha_po(2.0, 1.0, 0.25).margin.name
    'bent_log_prob_gap(0.25)'
    """
    margin = replace(margins.bent_log_prob_gap(alpha), constant=positive("gamma", gamma))
    return reference_free("alpha_po", margin, beta=beta, source="gupta:25")
