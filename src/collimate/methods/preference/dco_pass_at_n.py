"""Fine-tuning for the best of n answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate._numerics import log1mexp
from collimate.compose import Method
from collimate.lab import World, balance
from collimate.methods.preference._reference_free import reference_free


def dco_pass_at_n(n: int = 16) -> Method:
    """-log(1 - (1 - p(y_w))^n): minus the log of pass@n, of the chosen answer as a whole.

    n = 1 is supervised fine-tuning. The gradient is its, times a factor in (0, 1] that vanishes for
    answers of which n draws hold one anyway: confidence is limited. The rejected answer is not read.
    At n = 1 the population optimum is the law of chosen answers; the larger n, the more even it is.

    Errors: BadConfig unless n is a whole number of at least 1. Source: chen:25.

    >>> dco_pass_at_n(4).margin.name
    'log_coverage(4)'
    """
    method = reference_free("dco_pass_at_n", margins.log_coverage(n), beta=1.0, source="chen:25")

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        won = world.labels().sum(-1)

        def pull(log_p: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
            if n == 1:
                return won
            missed = log1mexp(log_p.clamp(max=0))  # log(1 - p), -inf from p = 1 on
            return won * n * (log_p + (n - 1) * missed - log1mexp(n * missed)).exp()

        return balance(torch.zeros_like(won), pull)

    return replace(method, loss=losses.negation, optimum=optimum)
