"""RSO's hinge loss on the normalised likelihood."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def hinge_norm(beta: float = 0.1) -> Method:
    """max(0, 1 - beta·(u_w - u_l)) per pair: no push beyond a margin of 1/beta nats.

    u = log policy - log reference of the whole answer (nats). TRL calls it `hinge`. The population
    optimum is not unique.

    Errors: BadConfig unless beta is finite and above 0. Source: liu:24 (hinge-norm).

    >>> hinge_norm(0.5).loss.name
    'hinge'
    """
    return replace(
        dpo(beta), name="hinge_norm", loss=losses.hinge, source="liu:24 (hinge-norm)", optimum=None
    )
