"""SimPO with a reward that bends with the log-prob."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import divergences, margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference._reference_free import gaps_beyond, reference_free


def alpha_po(beta: float = 2.0, gamma: float = 1.0, alpha: float = 0.25) -> Method:
    """-log sigmoid(beta·(R_w - R_l) - gamma) per pair, R = (1 - e^{-alpha·L})/alpha, L = log p(y)/|y|.

    No reference. R continues linearly where -alpha·L passes 60, and would overflow. alpha of either
    sign, not 0; towards 0 it is SimPO, as whose its population optimum is known, for responses of one
    token.

    Errors: BadConfig unless beta and gamma are above 0 and alpha is finite and not 0; BadComposition
    without lengths. Source: gupta:25.

    >>> alpha_po(2.0, 1.0, 0.25).margin.name
    'bent_log_prob_gap(0.25)'
    """
    margin = replace(margins.bent_log_prob_gap(alpha), constant=positive("gamma", gamma))

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        scores = world.scores(gaps_beyond(world.preferences(), gamma))
        if scores is None or (world.lengths() > 1).any():
            return None
        # R is, up to a constant, n^alpha times f' of the alpha divergence from n equal responses.
        n = scores.shape[-1]
        even = World(torch.full_like(scores, -math.log(n)), scores)
        found = even.optimum(divergences.alpha(alpha), beta * n**alpha)
        return found if torch.isfinite(found).all() else None

    method = reference_free("alpha_po", margin, beta=beta, source="gupta:25")
    return replace(method, optimum=optimum)
