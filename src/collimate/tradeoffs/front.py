"""A front of measured points, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from collimate._checks import BadData, within
from collimate.tradeoffs.hypervolume import hypervolume
from collimate.tradeoffs.pareto import Direction, pareto_set


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Front:
    """Settings of one knob or method in the plane, or space, of objectives.

    mean, low, high [setting, objective]: over seeds, with the bootstrap interval. on_front [setting]:
    whether the mean is non-dominated. frequency [setting]: share of redraws in which it is.
    volume, volume_low, volume_high: hypervolume of the means and its interval.
    """

    mean: Float[np.ndarray, "setting objective"]
    low: Float[np.ndarray, "setting objective"]
    high: Float[np.ndarray, "setting objective"]
    on_front: Bool[np.ndarray, " setting"]
    frequency: Float[np.ndarray, " setting"]
    volume: float
    volume_low: float
    volume_high: float


def front(
    points: Float[np.ndarray, "seed setting objective"],
    directions: Sequence[Direction],
    reference: Float[np.ndarray, " objective"],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Front:
    """Means over seeds, their non-dominated set and hypervolume, with percentile bootstrap intervals.

    Seeds are redrawn whole, all settings together, so that settings run on the same seeds are
    compared in pairs. The volume of noisy means is biased upwards, for a front is a maximum: with few
    seeds read `frequency` beside it. One seed has no spread: its intervals have length 0.

    Errors: BadData for no seed, NaN or infinite points; BadConfig as in `pareto_set`, `hypervolume`.

    >>> two = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.2, 1.2]]])
    >>> found = front(two, ["max", "max"], np.array([-1.0, -1.0]), draws=50)
    >>> found.on_front, found.volume_low <= found.volume <= found.volume_high
    (array([ True,  True]), True)
    """
    within("level", level, 0.0, 1.0)
    if not len(points) or not np.isfinite(points).all():
        raise BadData("a front needs finite points of at least one seed")
    generator = np.random.default_rng(seed)
    seeds = len(points)
    means = np.empty((draws, *points.shape[1:]))
    volumes, often = np.empty(draws), np.zeros(points.shape[1])
    for i in range(draws):
        means[i] = points[generator.integers(0, seeds, seeds)].mean(0)
        kept = pareto_set(means[i], directions)
        often += kept
        volumes[i] = hypervolume(means[i][kept], reference, directions)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(means, ends, axis=0)
    volume_low, volume_high = np.quantile(volumes, ends)
    mean = points.mean(0)
    return Front(
        mean=mean,
        low=low,
        high=high,
        on_front=pareto_set(mean, directions),
        frequency=often / draws,
        volume=hypervolume(mean, reference, directions),
        volume_low=float(volume_low),
        volume_high=float(volume_high),
    )
