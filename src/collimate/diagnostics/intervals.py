"""Bootstrap intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData


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
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([index[group] for group in groups])
    sums = np.bincount(owner, weights=values, minlength=len(index))
    counts = np.bincount(owner, minlength=len(index))
    generator = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(draws):  # one draw at a time: memory stays linear in the groups
        drawn = generator.integers(0, len(index), len(index))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
