"""Which of two numbers is the larger one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def won(a: Float[Tensor, ...], b: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """1 where a > b, ½ at a tie, else 0."""
    return torch.sign(a - b).add(1).div(2)
