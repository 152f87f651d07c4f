"""Anchored preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.lab import World
from collimate.methods.preference._surplus import surplus_optimum
from collimate.methods.preference.dpo import dpo


def apo_zero(beta: float = 0.1) -> Method:
    """-sigmoid(beta·u_w) + sigmoid(beta·u_l) per pair: chosen answers up, rejected ones down.

    u = log policy - log reference (nats). For chosen answers that are better than what the policy
    writes. TRL adds 1, which changes no gradient. For beta < 1 the population optimum is known: answers
    that lose more often than they win get no probability, however good they are.

    Errors: BadConfig unless beta is finite and above 0. Source: doosterlinck:25.

    >>> apo_zero().also[0].coefficient
    -1.0
    """
    down = Summand(
        name="rejected",
        margin=margins.rejected_log_ratio,
        loss=losses.negated_sigmoid,
        coefficient=-1.0,
    )

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        return surplus_optimum(world, labels.sum(-1) - labels.sum(-2), beta)

    return replace(
        dpo(beta),
        name="apo_zero",
        margin=margins.chosen_log_ratio,
        loss=losses.negated_sigmoid,
        also=(down,),
        source="doosterlinck:25",
        optimum=optimum,
    )
