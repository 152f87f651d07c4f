"""Long series made short enough to draw, and smooth enough to read."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LIMIT = (
    1000  # points per line: more than a chart has pixels to show on a phone, a third on a desktop
)


def thin(
    x: NDArray[np.float64], y: NDArray[np.float64], limit: int = LIMIT
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `limit` of the points (x, y), both [point]: the lowest and highest of each stretch.

    Plain striding would hide a spike of one step; here the extremes, the first and the last point
    always stay. Stretches have equal counts. A stretch without a finite y keeps one point, so that
    a gap stays a gap. limit must be 4 or more.

    >>> x = np.arange(10_000.0)
    >>> y = np.zeros(10_000)
    >>> y[777] = 5.0
    >>> short_x, short_y = thin(x, y, limit=100)
    >>> len(short_x) <= 100, short_y.max(), short_x[0], short_x[-1]
    (True, np.float64(5.0), np.float64(0.0), np.float64(9999.0))
    """
    if len(x) <= limit:
        return x, y
    kept = {0, len(x) - 1}
    edges = np.linspace(0, len(x), (limit - 2) // 2 + 1).astype(int)
    for start, end in pairwise(edges):
        stretch = y[start:end]
        finite = np.flatnonzero(np.isfinite(stretch))
        if len(finite) == 0:
            kept.add(int(start))
            continue
        kept.add(int(start + finite[stretch[finite].argmin()]))
        kept.add(int(start + finite[stretch[finite].argmax()]))
    index = np.array(sorted(kept))
    return x[index], y[index]


def window(points: int) -> int:
    """Steps that a moving average of `points` points spans: odd, about a twentieth; 1 when few.

    >>> window(10), window(200), window(100_000)
    (1, 11, 501)
    """
    return 1 if points < 30 else min(points // 40 * 2 + 1, 501)


def smooth(y: NDArray[np.float64], span: int) -> NDArray[np.float64]:
    """Centred moving average of y [point] over `span` points (odd), fewer at the ends.

    Points that are not finite are left out of the averages; an average of nothing is NaN.

    >>> smooth(np.array([0.0, 3.0, 0.0, 3.0]), 3)
    array([1.5, 1. , 2. , 1.5])
    """
    if span <= 1 or len(y) == 0:
        return y
    # A running sum would be faster, but one huge value would wash out every later average.
    finite, half = np.isfinite(y), span // 2
    ones = np.ones(span)
    total = np.convolve(np.where(finite, y, 0.0), ones)[half : half + len(y)]
    found = np.round(np.convolve(finite.astype(np.float64), ones)[half : half + len(y)])
    mean = total / np.maximum(found, 1)
    return np.where(found > 0, mean, np.nan)
