"""What length has to do with margins and accuracy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.correlation import Correlation, correlation
from collimate.diagnostics.intervals import bootstrap_mean


def length_bias(
    chosen_tokens: Float[np.ndarray, " pair"] | Int[np.ndarray, " pair"],
    rejected_tokens: Float[np.ndarray, " pair"] | Int[np.ndarray, " pair"],
    margin: Float[np.ndarray, " pair"],
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Correlation of the length gap, chosen - rejected tokens, with the margin, and its interval.

    margin: what orders the answers, such as the gap of implicit rewards (nats). Above 0, longer
    answers get more of it. Compare with the same number of the labels' true margin, where there is
    one: longer answers may be better. groups: the prompt of each pair, redrawn whole.

    Errors: BadData as in `correlation`. Source: park:24.

    >>> found = length_bias(np.array([9, 5, 3]), np.array([1, 4, 5]), np.array([4.0, 0.5, -1]), "abc")
    >>> round(found.value, 2)
    1.0
    """
    if chosen_tokens.shape != rejected_tokens.shape:
        raise BadData(
            f"got {len(chosen_tokens)} chosen and {len(rejected_tokens)} rejected lengths"
        )
    gap = chosen_tokens.astype(np.float64) - rejected_tokens
    return correlation(gap, margin.astype(np.float64), groups, level=level, draws=draws, seed=seed)


class LengthBin(NamedTuple):
    """Mean accuracy of the pairs whose length is in [shortest, longest], with its interval.

    >>> LengthBin(shortest=1, longest=9, pairs=4, accuracy=0.5, low=0.2, high=0.8).pairs
    4
    """

    shortest: float
    longest: float
    pairs: int
    accuracy: float
    low: float
    high: float


def accuracy_by_length(
    won: Float[np.ndarray, " pair"],
    length: Shaped[np.ndarray, " pair"],
    groups: Sequence[Hashable],
    *,
    bins: int = 4,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> list[LengthBin]:
    """Mean of `won` in bins of about equally many pairs, shortest first; one bootstrap interval each.

    won: 1, ½ or 0 of each pair (`ranking_accuracy`). length: any number of the pair: tokens, or the
    gap of two. Pairs of one length stay together, so that there may be fewer bins. groups: the
    prompt of each pair, redrawn whole. Together the intervals hold less often than each.

    Errors: BadData unless all are of one length, at least 1; BadConfig unless bins is at least 1.

    >>> won, length = np.array([1.0, 1.0, 0.0, 1.0]), np.array([3, 4, 30, 40])
    >>> [(x.longest, x.accuracy) for x in accuracy_by_length(won, length, range(4), bins=2)]
    [(4.0, 1.0), (40.0, 0.5)]
    """
    if isinstance(bins, bool) or bins < 1:
        raise BadConfig(f"bins must be a whole number of at least 1, got {bins!r}")
    if not 0 < len(won) == len(length) == len(groups):
        raise BadData(
            "accuracy by length needs pairs, and length and prompt of each, got "
            f"{len(won)}, {len(length)} and {len(groups)}"
        )
    edges = np.quantile(length, np.arange(1, bins) / bins)
    which = np.searchsorted(np.unique(edges), length, side="left")
    found: list[LengthBin] = []
    for number in np.unique(which):
        (here,) = np.nonzero(which == number)
        low, high = bootstrap_mean(
            won[here], [groups[i] for i in here.tolist()], level=level, draws=draws, seed=seed
        )
        found.append(
            LengthBin(
                shortest=float(length[here].min()),
                longest=float(length[here].max()),
                pairs=len(here),
                accuracy=float(won[here].mean()),
                low=low,
                high=high,
            )
        )
    return found
