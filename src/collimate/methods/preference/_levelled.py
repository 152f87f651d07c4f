"""Where the pulls of being the worst of a list are level."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._root import root


def levelled(worst: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
    """z of least Σ_y worst·log(1 + e^-z) with Σ z = 0: worst·sigmoid(-z) = κ, κ = e^-w·min worst."""
    least = worst.amin(-1, keepdim=True)

    def gaps(w: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        return (worst - least - least * torch.expm1(-w)).log() - least.log() + w

    return gaps(root(lambda w: gaps(w).sum(-1, keepdim=True), torch.zeros_like(least), 1e-14))
