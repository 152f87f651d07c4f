"""The exponential loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss

LINEAR_BELOW = -60.0
"""z below which the loss is continued by its tangent."""


def _exponential(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    tame = z.clamp(min=LINEAR_BELOW)
    return torch.exp(-tame) * (1 + (tame - z))


exponential = Loss(
    name="exponential", value=_exponential, source="tang:24 table 1", formula="exp(-z)"
)
"""e^-z, AdaBoost's; beyond z < -60 continued linearly, value and slope, where float32 ends.

Law: its slope is minus its value. Source: tang:24 table 1.
"""
