"""How much of objective space a set of points dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from collimate._checks import BadConfig, BadData
from collimate.tradeoffs.pareto import Direction, gains


def hypervolume(
    points: Float[np.ndarray, "point objective"],
    reference: Float[np.ndarray, " objective"],
    directions: Sequence[Direction],
) -> float:
    """Volume of the union of the boxes between `reference` and each point, in the objectives' units.

    Points that are not better than the reference in every objective add nothing; 0 for no points.
    Exact, by slices along the last objective; time grows like points^(objectives - 1): meant for up to
    five objectives. Compare runs only under one reference, fixed before the results are seen: a
    farther one favours the ends of a front. It depends on the objectives' scales.

    Errors: BadConfig unless there is a direction and a finite reference for each objective; BadData
    for NaN or points better than the reference without bound. Source: zitzler:99.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2), ["max", "max"])
    3.0
    """
    if reference.shape != (points.shape[1],) or not np.isfinite(reference).all():
        raise BadConfig(f"reference must be {points.shape[1]} finite numbers, got {reference}")
    extent = gains(points, directions) - gains(reference, directions)
    if (extent == np.inf).any():
        raise BadData("the volume of a point at infinity is infinite: leave it out")
    return _union(extent[(extent > 0).all(1)])


def _union(extent: Float[np.ndarray, "point objective"]) -> float:
    """Volume of the union of boxes [0, extent]."""
    if not len(extent):
        return 0.0
    if extent.shape[1] == 1:
        return float(extent.max())
    level = np.unique(extent[:, -1])  # between two levels, the boxes that reach the upper one
    thickness = np.diff(level, prepend=0.0)
    volume = 0.0
    for height, thick in zip(level, thickness, strict=True):
        volume += float(thick) * _union(np.unique(extent[extent[:, -1] >= height, :-1], axis=0))
    return volume
