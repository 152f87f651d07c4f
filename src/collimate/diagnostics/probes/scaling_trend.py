"""How a metric moves with model size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData, positive, same_length

Trend = Literal["standard", "inverse", "u", "inverted_u", "flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingTrend:
    """trend: the name. slope, curvature: per e-fold of size and its square, of the metric upwards.

    slope is of the straight line, curvature the coefficient of (log size)² in the parabola; *_z are
    both over their standard errors. vertex: the size at the parabola's turning point.
    """

    trend: Trend
    slope: float
    slope_z: float
    curvature: float
    curvature_z: float
    vertex: float


def scaling_trend(
    size: Float[np.ndarray, " size"],
    metric: Float[np.ndarray, " size"],
    standard_error: Float[np.ndarray, " size"] | None = None,
    *,
    larger_is_better: bool = True,
    threshold: float = 2.0,
) -> ScalingTrend:
    """The metric's trend with size by weighted least squares on x = log size.

    "u" or "inverted_u" where |z| of the parabola's curvature exceeds the threshold and its vertex
    lies within the range of sizes; else "standard" (better with size) or "inverse" where |z| of the
    line's slope does; else "flat". Names speak of goodness: of a loss (`larger_is_better` False) a
    falling curve is "standard" and a hump is "u".

    standard_error: of each metric, > 0; weights are their inverse squares. None: equal ones, estimated
    from the parabola's residuals; with few sizes their z has heavy tails (Student's t with sizes - 3
    degrees of freedom), so that false alarms are several times as frequent. At threshold 2 and known
    errors a flat curve is called otherwise in at most 2·4.6 % of cases.

    Errors: BadData for fewer than three distinct sizes (four without standard errors), sizes or errors
    not above 0, or numbers that are not finite; BadConfig for a threshold not above 0.
    Source: mckenzie:23; the classifier is ours.

    >>> sizes = 10.0 ** np.arange(8)
    >>> scaling_trend(sizes, np.linspace(0.9, 0.5, 8), np.full(8, 0.02)).trend
    'inverse'
    """
    same_length(size=len(size), metric=len(metric))
    positive("threshold", threshold)
    spread = np.ones(len(size)) if standard_error is None else standard_error
    same_length(size=len(size), standard_error=len(spread))
    if not (np.isfinite([size, metric, spread]).all() and (size > 0).all() and (spread > 0).all()):
        raise BadData("a trend needs finite metrics, and sizes and standard errors above 0")
    needed = 3 if standard_error is not None else 4
    if len(np.unique(size)) < needed:
        raise BadData(
            f"a trend needs at least {needed} different sizes, got {len(np.unique(size))}"
        )
    y = metric if larger_is_better else -metric
    middle = float(np.average(np.log(size), weights=spread**-2.0))
    x = np.log(size) - middle
    line, line_error, _ = _fit(x, y, spread, 1)
    curve, curve_error, residual = _fit(x, y, spread, 2)
    if standard_error is None:
        scale = math.sqrt(residual / (len(size) - 3))
        line_error, curve_error = scale * line_error, scale * curve_error
    slope_z, curvature_z = _ratio(line[1], line_error), _ratio(curve[2], curve_error)
    turning = -curve[1] / (2 * curve[2]) if curve[2] else math.inf
    trend: Trend = "flat"
    if abs(curvature_z) > threshold and x.min() < turning < x.max():
        trend = "u" if curvature_z > 0 else "inverted_u"
    elif abs(slope_z) > threshold:
        trend = "standard" if slope_z > 0 else "inverse"
    sign = 1.0 if larger_is_better else -1.0
    return ScalingTrend(
        trend=trend,
        slope=sign * float(line[1]),
        slope_z=sign * slope_z,
        curvature=sign * float(curve[2]),
        curvature_z=sign * curvature_z,
        vertex=float(np.exp(min(turning + middle, 700.0))),
    )


def _fit(
    x: Float[np.ndarray, " size"],
    y: Float[np.ndarray, " size"],
    spread: Float[np.ndarray, " size"],
    degree: int,
) -> tuple[Float[np.ndarray, " term"], float, float]:
    """(coefficients, standard error of the last, weighted sum of squared residuals)."""
    design = np.vander(x, degree + 1, increasing=True) / spread[:, None]
    coefficient = np.linalg.lstsq(design, y / spread, rcond=None)[0]
    error = math.sqrt(np.linalg.inv(design.T @ design)[-1, -1])
    return coefficient, error, float(np.square(y / spread - design @ coefficient).sum())


def _ratio(value: float, error: float) -> float:
    if error > 0:
        return float(value) / error
    return math.copysign(math.inf, value) if value else 0.0
