"""Means over the units of a step: a unit of weight 2 counts as two units."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor


def weights(
    columns: Mapping[str, Float[Tensor, " unit"]], like: Float[Tensor, " unit"]
) -> Float[Tensor, " unit"]:
    """The data's column `weight`, 1 for each unit without it."""
    return columns["weight"].to(like.dtype) if "weight" in columns else like.new_ones(len(like))


def mean(x: Float[Tensor, " unit"], weight: Float[Tensor, " unit"]) -> Float[Tensor, ""]:
    """Σ weight·x / Σ weight."""
    return (weight * x).sum() / weight.sum()
