"""Aligned supervised fine-tuning by absolute likelihoods."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.lab import World, balance
from collimate.methods.preference._reference_free import reference_free


def asft(lam: float = 0.1) -> Method:
    """-L_w - lam·[log sigmoid(o_w) + log sigmoid(-o_l)] per pair, L = log p(y)/|y|, o the log-odds.

    The bracket is log P_w + log(1 - P_l), P = e^L. No reference, lam > 0. Its gradient on the rejected
    answer stays bounded as P_l vanishes, where DPO's does not. For responses of one token the population
    optimum is known.

    Errors: BadConfig unless lam is finite and above 0; BadComposition without lengths. Source:
    wang:24b.

    >>> [summand.name for summand in asft().also]
    ['chosen_odds', 'rejected_odds']
    """
    lam = positive("lam", lam)
    up = Summand(
        name="chosen_odds", margin=margins.chosen_log_odds, loss=losses.logistic, coefficient=lam
    )
    down = Summand(
        name="rejected_odds",
        margin=margins.rejected_log_odds,
        loss=losses.logistic,
        coefficient=lam,
        beta=-1.0,
    )
    method = reference_free("asft", margins.chosen_mean_log_prob, beta=1.0, source="wang:24b")

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        won, lost = labels.sum(-1), labels.sum(-2)

        def pull(log_p: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
            odds = 1 / torch.expm1((-log_p).clamp(min=1e-300))  # 1e300 from p = 1 on
            return (1 + lam) * won - lam * lost * odds

        if (world.lengths() > 1).any():
            return None
        return balance(torch.zeros_like(won), pull)

    return replace(method, loss=losses.negation, also=(up, down), optimum=optimum)
