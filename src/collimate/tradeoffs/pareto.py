"""The non-dominated points of several objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from collimate._checks import BadConfig, BadData

Direction = Literal["max", "min"]


def pareto_set(
    points: Float[np.ndarray, "point objective"], directions: Sequence[Direction]
) -> Bool[np.ndarray, " point"]:
    """Which points no other point dominates: is nowhere worse than and somewhere better than.

    directions: of each objective, "max" or "min". Equal points do not dominate each other: all copies
    are kept, or none. A point that ties in every objective but one is dominated by the better one.
    Any number of objectives; time grows with points², memory with points.

    Errors: BadData for NaN; BadConfig unless there is one known direction per objective.

    >>> pareto_set(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), ["max", "max"])
    array([ True,  True, False,  True])
    """
    gain = gains(points, directions)
    return np.array(
        [not ((gain >= own).all(1) & (gain > own).any(1)).any() for own in gain], dtype=bool
    )


def gains(
    points: Float[np.ndarray, "*set objective"], directions: Sequence[Direction]
) -> Float[np.ndarray, "*set objective"]:
    """The points with every objective turned so that larger is better; checks the arguments.

    >>> gains(np.array([[1.0, 2.0]]), ["max", "min"])
    array([[ 1., -2.]])
    """
    if len(directions) != points.shape[-1] or not set(directions) <= {"max", "min"}:
        raise BadConfig(
            f'directions must name "max" or "min" for each of {points.shape[-1]} objectives, '
            f"got {list(directions)}"
        )
    if np.isnan(points).any():
        raise BadData("a point with NaN can be neither better nor worse: leave it out")
    return points * np.array([1.0 if way == "max" else -1.0 for way in directions])
