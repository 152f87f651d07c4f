"""Noise contrastive alignment of pairs."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.lab import World, balance
from collimate.methods.preference.dpo import dpo


def nca_pair(beta: float = 0.1) -> Method:
    """L(beta·u_w) + ½·L(-beta·u_w) + ½·L(-beta·u_l) per pair, L(z) = -log sigmoid(z).

    u = log policy - log reference (nats). The chosen answer's reward is held at beta·u_w = log 2, so
    that it does not fall with the rejected one's. beta > 0. At beta = 1 with pairs drawn from q the
    population optimum is 2·q(y)·P(y ≻ y'~q), and q·exp(r)/Z is not.

    Errors: BadConfig unless beta is finite and above 0. Source: chen:24.

    >>> len(nca_pair().also)
    2
    """
    hold = Summand(
        name="chosen_noise",
        margin=margins.chosen_log_ratio,
        loss=losses.logistic,
        coefficient=0.5,
        beta=-beta,
    )
    down = replace(hold, name="rejected_noise", margin=margins.rejected_log_ratio)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        won, lost = labels.sum(-1), labels.sum(-2)

        def pull(u: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
            return won * torch.sigmoid(-beta * u) - (won + lost) / 2 * torch.sigmoid(beta * u)

        return balance(world.reference_log_probs, pull)

    return replace(
        dpo(beta),
        name="nca_pair",
        margin=margins.chosen_log_ratio,
        also=(hold, down),
        source="chen:24",
        optimum=optimum,
    )
