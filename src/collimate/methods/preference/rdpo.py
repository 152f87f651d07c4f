"""DPO that is right in the mean of flipped labels."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import divergences, losses
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def rdpo(beta: float = 0.1, flip_rate: float = 0.1) -> Method:
    """[(1-e)·L(z) - e·L(-z)]/(1-2e), L(z) = -log sigmoid(z), z = beta·(u_w - u_l), e = flip_rate.

    u = log policy - log reference (nats). Where a share e in (0, ½) of the labels is flipped, its mean
    is DPO's loss on the clean ones, and with Bradley-Terry preferences so is its optimum. On finite
    data it falls without bound: stop early. TRL calls it `robust`.

    Errors: BadConfig outside the domains. Source: chowdhury:24.

    >>> rdpo(0.1, 0.2).loss.name
    'debiased_logistic(0.2)'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        if world.preference is None and world.flip_rate == flip_rate:
            return world.optimum(divergences.reverse_kl, beta)
        clean = (world.preferences() - flip_rate) / (1 - 2 * flip_rate)  # a number off [0, 1]: none
        scores = world.scores(clean.logit())
        return None if scores is None else world.optimum(divergences.reverse_kl, beta, scores)

    return replace(
        dpo(beta),
        name="rdpo",
        loss=losses.debiased_logistic(flip_rate),
        source="chowdhury:24",
        optimum=optimum,
    )
