"""Kahneman-Tversky optimisation of labelled answers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import distributions, divergences, losses, margins, tradeoffs
from collimate._checks import positive
from collimate._types import ThumbLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.lab import World, every_thumb
from collimate.methods.preference._surplus import surplus_optimum


def kto(beta: float = 0.1, lam_D: float = 1.0, lam_U: float = 1.0) -> Method:
    """lam_D·(1 - sigmoid(beta·(u - z))) per wanted answer, lam_U·(1 - sigmoid(beta·(z - u))) else.

    u = log policy - log reference (nats); z = max(0, mean of u over answers put under other prompts),
    without gradient, an estimate of the policy's KL to the reference. Defined over the step: z is that
    of all its examples. Pairs are read as two labelled answers of one step. lam_D·n_D/(lam_U·n_U)
    between 1 and 4/3 is the paper's advice for unbalanced labels. TRL takes z of each micro-batch.
    Answers for which lam_U·(how often unwanted) is above lam_D·(how often wanted) lose all probability;
    where one of them comes under other prompts, that drags z down to 0, and for beta < 1 the population
    optimum is known.

    Errors: BadConfig unless all are finite and above 0. Source: ethayarajh:24.

    >>> kto().needs.couples
    'batch'
    """
    wanted, unwanted = positive("lam_D", lam_D), positive("lam_U", lam_U)

    def weight(view: ThumbLogProbs, state: State) -> Float[Tensor, " answer"]:
        return torch.where(view.label > 0, view.label * wanted, -view.label * unwanted)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels, mismatched = world.labels(), every_thumb(world).mismatched
        surplus = wanted * labels.sum(-1) - unwanted * labels.sum(-2)
        at_zero = ((surplus < 0) & (mismatched > 0)).any()
        return surplus_optimum(world, surplus, beta) if at_zero else None

    return Method(
        name="kto",
        distribution=distributions.offline_thumbs(),
        divergence=divergences.reverse_kl,
        margin=margins.reference_point_log_ratio,
        loss=losses.sigmoid,
        tradeoff=tradeoffs.fixed(beta),
        factor=Factor(value=weight, formula=f"where(y > 0, {wanted}, {unwanted})"),
        source="ethayarajh:24",
        optimum=optimum,
    )
