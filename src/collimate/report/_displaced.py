"""Likelihood displacement while training: noticed, and traced to the pairs that cause it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DISPLACED_LINES = 5
"""Logged steps that are averaged: the pairs of one step are few."""

LOST = 1.0
"""Nats that the chosen answers must have lost on average."""

SHARE_LOST = 0.25
"""And this share of their log-prob before training: a long answer loses nats that mean little."""

EXPLAINED = 0.8
"""Share of the loss that the suspect pairs explain together."""

CONCENTRATED = 0.5
"""Where it takes more than this share of the pairs to do so, none of them is suspect."""


def displaced(chosen: Array, rejected: Array, start: Array) -> bool:
    """Whether the chosen answers of the last `DISPLACED_LINES` logged steps are being lost.

    chosen, rejected: change of the log-prob of a step's answers since the start (nats, means over its
    pairs). start: log-prob of its chosen answers at the start. All [logged step], NaN in skipped ones,
    which do not count. On average the chosen answers lost at least `LOST` nats and `SHARE_LOST` of
    what they had, while their gap to the rejected ones grew.

    >>> fell = -np.arange(8.0)
    >>> displaced(fell, 2 * fell, np.full(8, -1.0)), displaced(fell, 2 * fell, np.full(8, -100.0))
    (True, False)
    """
    known = np.isfinite(chosen) & np.isfinite(rejected) & np.isfinite(start)
    chosen, rejected, start = (x[known][-DISPLACED_LINES:] for x in (chosen, rejected, start))
    if len(chosen) < DISPLACED_LINES:
        return False
    fell = chosen.mean()
    lost = fell <= -LOST and fell <= SHARE_LOST * start.mean()
    return bool(lost and fell > rejected.mean())


def began(chosen: Array) -> int:
    """Where in the array the fall to the mean of its last lines began: beyond a tenth of it for good.

    >>> began(np.array([0.0, 0.1, 0.0, -1.0, -2.0, -4.0, -4.0, -4.0, -4.0, -4.0]))
    3
    """
    high = np.flatnonzero(chosen > 0.1 * chosen[-DISPLACED_LINES:].mean())
    return min(int(high[-1]) + 1, len(chosen) - 1) if len(high) else 0


def suspect_pairs(change: Array, ches: Array) -> NDArray[np.intp]:
    """Of the pairs whose chosen answer lost, those of the highest CHES that hold `EXPLAINED` of the loss.

    change: of each pair's chosen log-prob (nats). ches: length-normalised. NaN for pairs that no step
    has taken. By falling CHES; none where that takes more than `CONCENTRATED` of all pairs that steps
    have taken, for then the loss is everyone's.

    >>> suspect_pairs(np.array([-1.0, -9.0, 0.5, -0.5]), np.array([0.0, 3.0, 1.0, 2.0]))
    array([1])
    """
    known = np.flatnonzero(np.isfinite(change) & np.isfinite(ches))
    losing = known[change[known] < 0]
    order = losing[np.argsort(-ches[losing], kind="stable")]
    lost = -change[order].cumsum()
    if not len(order):
        return order
    count = int(np.searchsorted(lost, EXPLAINED * lost[-1])) + 1
    return order[:count] if count <= CONCENTRATED * len(known) else order[:0]


def displaced_sentence(lost: float, since: int, suspect: int | None) -> str:
    """What a person is told. lost: nats, above 0. since: a step. suspect: pairs, None if unknown.

    >>> print(displaced_sentence(14.2, 120, 31))
    The chosen answers lost 14.2 nats on average since step 120 while the margin grew; of the pairs
    that lost, the 31 with the highest CHES score hold 80 % of the loss: their rows are in
    suspect_rows.jsonl. Try rpo_sft, a larger beta or a smaller learning rate, or drop them.
    """
    fell = f"The chosen answers lost {lost:.1f} nats on average since step {since} while the margin grew"
    remedy = "a larger beta or a smaller learning rate"
    if suspect is None:
        return f"{fell}. Try {remedy}."
    remedy = f"rpo_sft, {remedy}"
    if not suspect:
        return f"{fell}; the loss is spread over the pairs. Try {remedy}."
    who = "the one" if suspect == 1 else f"the {suspect}"
    return (
        f"{fell}; of the pairs that lost, {who} with the highest CHES score hold"
        f"{'s' * (suspect == 1)} {100 * EXPLAINED:.0f} % of the loss: their rows are in "
        f"suspect_rows.jsonl. Try {remedy}, or drop them."
    )
