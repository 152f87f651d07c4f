"""Pearson's correlation, with an interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData
from collimate.diagnostics._groups import numbered

_CONSTANT = 1e-12  # of the mean square: below it a spread is rounding


class Correlation(NamedTuple):
    """A correlation in [-1, 1] and its interval; NaN where one side is constant.

    >>> Correlation(value=0.5, low=0.2, high=0.7).low
    0.2
    """

    value: float
    low: float
    high: float


def correlation(
    a: Float[np.ndarray, " unit"],
    b: Float[np.ndarray, " unit"],
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Pearson's correlation and its percentile bootstrap interval, whole groups redrawn together.

    groups: of each unit, what makes units depend on each other (their prompt). Redraws that leave
    one side constant are left out of the interval. A constant side has no correlation: NaN.

    Errors: BadData unless all three are of one length, at least 2, and finite.

    >>> x = np.arange(9.0)
    >>> round(correlation(x, x**2, range(9)).value, 3)
    0.962
    """
    if not 2 <= len(a) == len(b) == len(groups):
        raise BadData(
            "a correlation needs two values of each of at least two units, and the group of each, "
            f"got {len(a)}, {len(b)} and {len(groups)}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BadData("a correlation needs finite values")
    owner, count = numbered(groups)
    x, y = a - a.mean(), b - b.mean()  # the moments of large numbers would cancel
    moments = np.stack(
        [
            np.bincount(owner, weights=w, minlength=count)
            for w in (np.ones(len(x)), x, y, x * x, y * y, x * y)
        ],
        axis=1,
    )
    generator = np.random.default_rng(seed)
    sums = np.empty((draws, moments.shape[1]))
    for i in range(draws):  # one draw at a time: memory stays linear in the groups
        sums[i] = moments[generator.integers(0, count, count)].sum(0)
    drawn = _pearson(sums)
    known = drawn[~np.isnan(drawn)]
    low, high = (
        np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (np.nan, np.nan)
    )
    return Correlation(float(_pearson(moments.sum(0)[None])[0]), float(low), float(high))


def _pearson(sums: Float[np.ndarray, "draw 6"]) -> Float[np.ndarray, " draw"]:
    """From n, Σx, Σy, Σx², Σy², Σxy of each draw; NaN where a side is constant."""
    n, x, y, xx, yy, xy = sums.T
    var_x, var_y = xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
    constant = (var_x <= _CONSTANT * xx / n) | (var_y <= _CONSTANT * yy / n)
    scale = np.sqrt(np.where(constant, 1, var_x) * np.where(constant, 1, var_y))
    return np.where(constant, np.nan, np.clip((xy / n - x * y / n**2) / scale, -1, 1))
