"""Efficient exact optimisation on pairs."""

from __future__ import annotations

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import divergences, losses
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def exo_pair(beta: float = 0.1, label_smoothing: float = 1e-3) -> Method:
    """KL(Bern(sigmoid(z)) ‖ Bern(1 - e)) per pair, z = beta·(u_w - u_l), e = label_smoothing in (0, ½).

    u = log policy - log reference (nats). The reverse KL to the labels, which seeks a mode, where DPO's
    is forward; 0 at z = log((1-e)/e). In the mean over labels a pair is fitted at z = (2P - 1)·that,
    which is linear in P where DPO's is its logit: the population optimum is known where one score per
    response has all those gaps, which Bradley-Terry preferences of three responses do not allow.

    Errors: BadConfig outside the domains. Source: ji:24.

    >>> exo_pair().loss.name
    'bernoulli_kl(0.001)'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        surest = math.log((1 - label_smoothing) / label_smoothing)
        scores = world.scores((2 * world.preferences() - 1) * surest)
        return None if scores is None else world.optimum(divergences.reverse_kl, beta, scores)

    return replace(
        dpo(beta),
        name="exo_pair",
        loss=losses.bernoulli_kl(label_smoothing),
        source="ji:24",
        optimum=optimum,
    )
