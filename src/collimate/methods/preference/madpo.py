"""Margin-adaptive DPO: a reward model says how much each pair should pull."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from collimate import divergences
from collimate._checks import BadConfig, positive
from collimate._types import PairLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.lab import World
from collimate.margins import column
from collimate.methods.preference.dpo import dpo


def madpo(
    beta: float = 0.1, c_max: float = 2.0, lam: float = 1.0, tau: float = math.log(999)
) -> Method:
    """-w(g)·log sigmoid(beta·(u_w - u_l)) per pair, g = r(y_w) - r(y_l) the column `margin`.

    u = log policy - log reference (nats), r a frozen Bradley-Terry reward model. w = s(c·g)/s(g) for
    g > -tau, else 1, s the sigmoid; c(g) = c_min + (c_max - c_min)/(1 + k·e^{lam·(|g| - tau)}) falls
    from c_max to c_min = 1/c_max and is 1 at tau. Where labels follow s(g), beta·h = c·g is optimal
    for |g| < tau, which spreads hard pairs; beyond tau it is g less e^-cg at most. The population
    optimum is known where one score per response has all those gaps, as of two responses.

    Errors: BadConfig unless beta, lam and tau are above 0 and c_max above 1; BadComposition without
    the column. Source: rho:25 (first version and its code).

    >>> madpo().name
    'madpo'
    """
    if positive("c_max", c_max) <= 1:
        raise BadConfig(f"c_max must be above 1, got {c_max:g}")
    lam, tau, c_min = positive("lam", lam), positive("tau", tau), 1 / c_max

    def log_weight(g: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        k = (c_max - 1) / (1 - c_min)
        c = c_min + (c_max - c_min) * torch.sigmoid(lam * (tau - g.abs()) - math.log(k))
        return (functional.logsigmoid(c * g) - functional.logsigmoid(g)).where(g > -tau, 0.0)

    def weight(view: PairLogProbs, state: State) -> Float[Tensor, " pair"]:
        return log_weight(column(view, "margin")).exp()

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        g = world.reward[:, :, None] - world.reward[:, None, :]
        scores = world.scores(world.preferences().logit() + log_weight(g) - log_weight(-g))
        return None if scores is None else world.optimum(divergences.reverse_kl, beta, scores)

    c = f"{c_min} + {c_max - c_min}/(1 + {c_max}·exp({lam}·(abs(margin) - {tau})))"  # k = c_max
    formula = f"where(margin > -{tau}, s(({c})·margin)/s(margin), 1)"
    factor = Factor(value=weight, formula=formula)
    return replace(dpo(beta), name="madpo", factor=factor, source="rho:25", optimum=optimum)
