"""Bootstrap intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData
from collimate.diagnostics._groups import numbered

_AT_ONCE = 2**14  # groups drawn: memory stays linear in them, and few of them are quick


def bootstrap_mean(
    values: Float[np.ndarray, " unit"],
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, whole groups (prompts) redrawn together.

    Redrawing rows would call two answers to one prompt independent. Returns (low, high); of a
    single group, twice its mean. Errors: BadData unless there is one group per value, and a value.

    >>> low, high = bootstrap_mean(np.array([0.0, 1.0, 1.0, 1.0]), ["a", "a", "b", "c"])
    >>> 0.0 <= low <= 0.75 <= high <= 1.0
    True
    """
    if not 0 < len(values) == len(groups):
        raise BadData(
            "the interval of a mean needs values, and the group of each, got "
            f"{len(values)} values and {len(groups)} groups: give the prompt of every row"
        )
    owner, count = numbered(groups)
    sums = np.bincount(owner, weights=values, minlength=count)
    counts = np.bincount(owner, minlength=count)
    generator = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // count)
    means: list[Float[np.ndarray, " draw"]] = []
    for start in range(0, draws, at_once):
        drawn = generator.integers(0, count, (min(at_once, draws - start), count))
        means.append(sums[drawn].sum(-1) / counts[drawn].sum(-1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
