"""The squared hinge."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _truncated(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return (1 - z).relu().square()


truncated_quadratic = Loss(
    name="truncated_quadratic",
    value=_truncated,
    source="tang:24 table 1",
    formula="max(0, 1 - z)^2",
)
"""max(0, 1 - z)²: the squared loss to a margin of 1, without punishing what is beyond it.

Law: 0 from z = 1 on, with a continuous slope. Source: tang:24 table 1.
"""
