"""Conservative DPO: label smoothing."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import divergences, losses
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def cdpo(beta: float = 0.1, label_smoothing: float = 0.1) -> Method:
    """DPO with smoothed labels: (1-e)·(-log sigmoid(z)) + e·(-log sigmoid(-z)), z = beta·(u_w - u_l).

    e = label_smoothing in (0, ½) is the share of labels believed wrong. The minimum is at a finite
    margin z = log((1-e)/e). Each pair by itself is fitted at logit(e + (1-2e)·P); the population
    optimum is known where one score per response has all those gaps, which Bradley-Terry preferences
    of three responses do not allow.

    Errors: BadConfig outside the domains. Source: mitchell:23.

    >>> cdpo(0.1, 0.2).loss.name
    'smoothed_logistic(0.2)'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        believed = label_smoothing + (1 - 2 * label_smoothing) * world.preferences()
        scores = world.scores(believed.logit())
        return None if scores is None else world.optimum(divergences.reverse_kl, beta, scores)

    return replace(
        dpo(beta),
        name="cdpo",
        loss=losses.smoothed_logistic(label_smoothing),
        source="mitchell:23",
        optimum=optimum,
    )
