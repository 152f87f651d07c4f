"""Simple preference optimisation."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.lab import World, tilt_per_token
from collimate.methods.preference._reference_free import gaps_beyond, reference_free


def simpo(beta: float = 2.0, gamma: float = 1.0) -> Method:
    """-log sigmoid(beta·(L_w - L_l) - gamma) per pair, L = log p(y)/|y|.

    No reference. beta about 2 to 10 (per token), gamma > 0 the margin that the chosen answer must be
    ahead by. TRL's CPO trainer adds a likelihood term unless `cpo_alpha` is 0. The population optimum
    is known where one score per response has the gap that each pair by itself asks for, which under a
    gamma above 0 Bradley-Terry preferences of three responses do not allow.

    Errors: BadConfig unless both are finite and above 0; BadComposition without lengths. Source:
    meng:24.

    >>> simpo(2.5, 1.4).margin.constant
    1.4
    """
    margin = replace(margins.mean_log_prob_gap, constant=positive("gamma", gamma))

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        scores = world.scores(gaps_beyond(world.preferences(), gamma))
        if scores is None:
            return None
        return tilt_per_token(torch.zeros_like(scores), world.lengths(), scores / beta)

    method = reference_free("simpo", margin, beta=beta, source="meng:24")
    return replace(method, optimum=optimum)
