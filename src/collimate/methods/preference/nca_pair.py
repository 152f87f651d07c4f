"""Noise contrastive alignment of pairs."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def nca_pair(beta: float = 0.1) -> Method:
    """L(beta·u_w) + ½·L(-beta·u_w) + ½·L(-beta·u_l) per pair, L(z) = -log sigmoid(z).

    u = log policy - log reference (nats). The chosen answer's reward is held at beta·u_w = log 2, so
    that it does not fall with the rejected one's. beta > 0.

    Errors: BadConfig unless beta is finite and above 0. Source: chen:24.

    >>> len(nca_pair().also)
    2
    """
    hold = Summand(
        name="chosen_noise",
        margin=margins.chosen_log_ratio,
        loss=losses.logistic,
        coefficient=0.5,
        beta=-beta,
    )
    down = replace(hold, name="rejected_noise", margin=margins.rejected_log_ratio)
    return replace(
        dpo(beta),
        name="nca_pair",
        margin=margins.chosen_log_ratio,
        also=(hold, down),
        source="chen:24",
        optimum=None,
    )
