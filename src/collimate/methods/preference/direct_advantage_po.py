"""Direct advantage policy optimisation: log-ratios regressed onto advantages."""

from __future__ import annotations

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import distributions, losses, margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.lab import World, answer_law, balance
from collimate.methods.preference.dpo import dpo


def direct_advantage_po(beta: float = 0.1) -> Method:
    """½·(A/beta - u)² per answer, A its score: an advantage, from a critic of the reference.

    u = log policy - log reference (nats). Each answer (a step of reasoning) by itself; no normaliser is
    subtracted, so that at the optimum of answers from q A = beta·(u + C·e^u), C = KL(q‖p).

    Errors: BadConfig unless beta is finite and above 0. Source: liu:24c.

    >>> direct_advantage_po().margin.name
    'scored_log_ratio'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        if world.list_size > 1:
            return None  # the scores are ranks
        law, q = answer_law(world), world.reference_log_probs.exp()
        advantage = world.reward - (q * world.reward).sum(-1, keepdim=True)
        return balance(world.reference_log_probs, lambda u: law * (advantage / beta - u))

    return replace(
        dpo(beta),
        name="direct_advantage_po",
        distribution=distributions.offline_lists(),
        margin=margins.scored_log_ratio,
        loss=losses.squared(unit=math.sqrt(2) * positive("beta", beta)),
        source="liu:24c",
        optimum=optimum,
    )
