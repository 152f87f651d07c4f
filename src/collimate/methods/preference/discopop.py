"""Discovered preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def discopop(beta: float = 0.05, tau: float = 0.05) -> Method:
    """(1 - m)·(-log sigmoid(z)) + m·e^-z per pair, z = beta·(u_w - u_l), m = sigmoid(z/tau).

    u = log policy - log reference (nats). Not convex: see `losses.discopop_loss`.

    Errors: BadConfig unless beta is above 0 and tau in (0, 1). Source: lu:24.

    >>> discopop().loss.name
    'discopop(0.05)'
    """
    return replace(
        dpo(beta),
        name="discopop",
        loss=losses.discopop_loss(tau),
        source="lu:24",
        optimum=None,
    )
