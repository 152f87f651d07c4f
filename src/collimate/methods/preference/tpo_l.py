"""Triple preference optimisation by lengths."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.simpo import simpo
from collimate.methods.preference.tpo import tpo, where_gold_agrees


def tpo_l(beta: float = 0.01, gamma: float = 0.5, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(L_w - L_l) - gamma) - alpha·log p(y_gold) per row, L the log-prob per token.

    No reference. gamma > 0 is the margin to exceed; otherwise as `tpo`. The population optimum is known
    where gold answers have SimPO's.

    Errors: BadConfig unless all are finite and above 0; BadComposition without lengths. Source:
    saeidi:25.

    >>> tpo_l().margin.constant
    0.5
    """
    pairs = simpo(beta, gamma)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        return where_gold_agrees(world, pairs.population_optimum(world))

    return replace(tpo(beta, alpha), name="tpo_l", margin=pairs.margin, optimum=optimum)
