"""Savage's loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _savage(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return torch.sigmoid(-z).square()


savage = Loss(name="savage", value=_savage, source="masnadi-shirazi:08", formula="s(-z)^2")
"""sigmoid(-z)² = 1/(1 + e^z)²: bounded by 1, so that hopeless pairs pull no more.

Law: savage(z) + savage(-z) = 1 - 2·sigmoid(z)·sigmoid(-z). Not convex. Source: masnadi-shirazi:08.
"""
