"""Efficient exact optimisation on pairs."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def exo_pair(beta: float = 0.1, label_smoothing: float = 1e-3) -> Method:
    """KL(Bern(sigmoid(z)) ‖ Bern(1 - e)) per pair, z = beta·(u_w - u_l), e = label_smoothing in (0, ½).

    u = log policy - log reference (nats). The reverse KL to the labels, which seeks a mode, where DPO's
    is forward; 0 at z = log((1-e)/e).

    Errors: BadConfig outside the domains. Source: ji:24.

    >>> exo_pair().loss.name
    'bernoulli_kl(0.001)'
    """
    return replace(
        dpo(beta),
        name="exo_pair",
        loss=losses.bernoulli_kl(label_smoothing),
        source="ji:24",
        optimum=None,
    )
