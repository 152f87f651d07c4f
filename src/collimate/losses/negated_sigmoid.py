"""A bounded pull: minus the sigmoid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _negated(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -torch.sigmoid(z)


negated_sigmoid = Loss(
    name="negated_sigmoid", value=_negated, source="doosterlinck:25", formula="-s(z)"
)
"""-sigmoid(z): the pull is largest at z = 0 and vanishes on both sides.

Range (-1, 0). Not convex. Source: doosterlinck:25.
"""
