"""Where sigmoids of single answers' log-ratios balance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.lab import World, balance


def surplus_optimum(
    world: World, surplus: Float[Tensor, "context response"], beta: float
) -> Float[Tensor, "context response"] | None:
    """Log p of the minimiser of -Σ_y a_y·sigmoid(beta·u_y), a_y = `surplus`, for beta < 1 (else None).

    What has a < 0 gets no probability; a·sigmoid(beta·u)·sigmoid(-beta·u) = κ·p for the others. Not
    convex in u; but sigmoid(beta·log t) is concave in t, and one u fits each multiplier.
    """

    def pull(u: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
        return surplus * torch.sigmoid(beta * u) * torch.sigmoid(-beta * u)

    return balance(world.reference_log_probs, pull) if beta < 1 else None
