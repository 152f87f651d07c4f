"""Rank correlation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData, same_length


def spearman(a: Float[np.ndarray, " item"], b: Float[np.ndarray, " item"]) -> float:
    """Correlation of the ranks of a and b, ties at their mean rank, in [-1, 1].

    Errors: BadData for NaN, two lengths, or where all of a or all of b are alike.

    >>> spearman(np.array([1.0, 2.0, 30.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    same_length(a=len(a), b=len(b))
    if np.isnan(a).any() or np.isnan(b).any():
        raise BadData("a rank correlation needs a number for every item, got NaN")
    x, y = (_ranks(v) - (len(v) - 1) / 2 for v in (a, b))
    norm = np.sqrt((x @ x) * (y @ y))
    if norm == 0:
        raise BadData("a rank correlation needs values that differ")
    return float(np.clip(x @ y / norm, -1, 1))


def _ranks(v: Float[np.ndarray, " item"]) -> Float[np.ndarray, " item"]:
    """Mean rank of each, from 0."""
    _, code, count = np.unique(v, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[code]
