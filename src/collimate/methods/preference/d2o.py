"""Distributional dispreference optimisation: one negative against several answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import distributions, margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.lab import World, every_list
from collimate.methods.preference._levelled import levelled
from collimate.methods.preference.dpo import dpo


def d2o(beta: float = 0.1, alpha: float = 0.1) -> Method:
    """-log sigmoid((beta/K)·Σ_i u_i - alpha·u_l) per list: K answers together against the worst one.

    u = log policy - log reference (nats). The worst-scored answer is the human negative y_l, the others
    were drawn from the model before training. The paper compares the two sides with two references;
    here both are the one that is given. With alpha = beta and Plackett-Luce lists of every response the
    population optimum is known: p ∝ q·exp(-z·K/((K + 1)·beta)), z = log((w - κ)/κ) with sum 0, w how
    often an answer is the worst.

    Errors: BadConfig unless both are finite and above 0. Source: duan:24.

    >>> d2o(0.1, 0.2).margin.name
    'mean_over_worst_log_ratio_gap(2)'
    """
    weight = positive("alpha", alpha) / positive("beta", beta)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        contexts, size = world.reward.shape
        if not (alpha == beta and world.is_bradley_terry and world.list_size == size):
            return None
        lists = every_list(world)
        worst = torch.zeros(contexts * size, dtype=torch.float64)
        worst = worst.index_add(0, lists.places[-1], lists.view.columns["weight"])
        z = levelled(worst.reshape(contexts, size))
        return torch.log_softmax(world.reference_log_probs - (size - 1) / (size * beta) * z, -1)

    return replace(
        dpo(beta),
        name="d2o",
        distribution=distributions.offline_lists(),
        margin=margins.mean_over_worst_log_ratio_gap(weight),
        source="duan:24",
        optimum=optimum,
    )
