"""Binary classifier optimisation on the two answers of a pair."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.lab import World, balance
from collimate.methods.preference.dpo import dpo


def bco_pair(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·u_w) - log sigmoid(-beta·u_l) per pair: each answer classified by itself.

    u = log policy - log reference (nats). An upper bound of DPO's loss; neither the paper's shift nor
    its weights by density ratio (`bco`), as in TRL's `bco_pair`. But for the normaliser, the population
    optimum is beta·u = log of how often an answer is chosen to how often it is rejected.

    Errors: BadConfig unless beta is finite and above 0. Source: jung:25.

    >>> bco_pair().also[0].name
    'rejected'
    """
    down = Summand(
        name="rejected", margin=margins.rejected_log_ratio, loss=losses.logistic, beta=-beta
    )

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        won, lost = labels.sum(-1), labels.sum(-2)

        def pull(u: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
            return won * torch.sigmoid(-beta * u) - lost * torch.sigmoid(beta * u)

        return balance(world.reference_log_probs, pull)

    return replace(
        dpo(beta),
        name="bco_pair",
        margin=margins.chosen_log_ratio,
        also=(down,),
        source="jung:25",
        optimum=optimum,
    )
