"""DPO of rankings."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import distributions, losses, margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def plackett_luce(beta: float = 0.1) -> Method:
    """Σ_k [log Σ_{j>=k} e^{beta·u_j} - beta·u_k] per list, answers in order of score, best first.

    u = log policy - log reference (nats). Of two answers it is DPO. Equal scores within a list are
    refused; pairs are read as lists of two. With Plackett-Luce rankings the population optimum is DPO's,
    q·exp(r/beta)/Z, whatever lists are drawn.

    Errors: BadConfig unless beta is finite and above 0. Source: rafailov:23 app. A.3.

    >>> plackett_luce().needs.view
    'lists'
    """
    pairwise = dpo(beta)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        return pairwise.population_optimum(world) if world.is_bradley_terry else None

    return replace(
        pairwise,
        name="plackett_luce",
        distribution=distributions.offline_lists(),
        margin=margins.ranked_log_ratios,
        loss=losses.plackett_luce,
        source="rafailov:23 app. A.3",
        optimum=optimum,
    )
