"""The hinge loss."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _hinge(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return (1 - z).relu()


hinge = Loss(name="hinge", value=_hinge, source="liu:24", formula="max(0, 1 - z)")
"""max(0, 1 - z): no cost beyond z = 1.

Law: hinge(1) = 0, slope -1 below. Source: liu:24 (RSO's hinge-norm, with z = beta·h).
"""
