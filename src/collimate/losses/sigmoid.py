"""The sigmoid loss: how far from certain."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _sigmoid(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return torch.sigmoid(-z)


sigmoid = Loss(name="sigmoid", value=_sigmoid, formula="s(-z)", source="ethayarajh:24")
"""1 - sigmoid(z) = 1/(1 + e^z): `negated_sigmoid` plus 1.

Range (0, 1). Not convex: the pull vanishes on both sides. Source: ethayarajh:24.
"""
