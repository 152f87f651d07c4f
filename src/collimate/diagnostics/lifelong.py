"""Lifelong learning: what learning one task after another keeps and carries over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from collimate._checks import BadConfig, BadData


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A block of learning one task.

    >>> Learnt(task="sums").task
    'sums'
    """

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation: the performance in each task, larger is better.

    >>> Evaluated(performance={"sums": 80.0}).performance["sums"]
    80.0
    """

    performance: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Contrasts (after - before)/(after + before) of task j across learning of task i, by (i, j).

    forward: of tasks not learnt before; backward: of those learnt before. Means over blocks.

    >>> Transfer(forward={("sums", "products"): 0.1}, backward={}).forward
    {('sums', 'products'): 0.1}
    """

    forward: Mapping[tuple[str, str], float]
    backward: Mapping[tuple[str, str], float]


def scaled(performance: float, low: float, high: float) -> float:
    """1 + 100·(performance - low)/(high - low): performance on 1 to 101.

    low, high: the worst and the best possible, the same for all that is compared. Contrasts depend
    on the offset of 1: from 0 to 10 % is 0.83 with it and 1 without.

    Errors: BadConfig unless low < high, both finite. Source: baker:23.

    >>> scaled(0.5, 0.0, 1.0)
    51.0
    """
    if not -math.inf < low < high < math.inf:
        raise BadConfig(f"low < high must be finite, got {low} and {high}")
    return 1 + 100 * (performance - low) / (high - low)


def performance_maintenance(log: Sequence[Learnt | Evaluated]) -> Mapping[str, float]:
    """Of each task, mean over later evaluations of performance - that just after it was learnt.

    "Just after": the first evaluation of the task after its latest learning; those before another
    learning of it are later ones. Below 0: forgotten. In units of the performance; tasks without a
    later evaluation are left out.

    log: what happened, in order. Errors: BadData for performance that is not finite. Source: baker:23.

    >>> log = [Learnt(task="a"), Evaluated(performance={"a": 90.0}), Learnt(task="b"),
    ...     Evaluated(performance={"a": 60.0})]
    >>> performance_maintenance(log)
    {'a': -30.0}
    """
    fresh: dict[str, float | None] = {}  # performance just after; None: learnt, not yet evaluated
    changes: dict[str, list[float]] = {}
    for entry in log:
        if isinstance(entry, Learnt):
            fresh[entry.task] = None
            continue
        for task, now in _finite(entry.performance).items():
            if task not in fresh:
                continue
            just_after = fresh[task]
            if just_after is None:
                fresh[task] = now
            else:
                changes.setdefault(task, []).append(now - just_after)
    return {task: fmean(values) for task, values in changes.items()}


def transfer(log: Sequence[Learnt | Evaluated]) -> Transfer:
    """(TP_j after - TP_j before)/(TP_j after + TP_j before) across each learning of another task i.

    Before and after: the last evaluation of j before the block and the first after it, with no other
    block between. Each contrast lies in [-1, 1]; performance is above 0 (`scaled`).

    Errors: BadData for performance that is not finite and above 0. Source: baker:23.

    >>> log = [Evaluated(performance={"a": 20.0, "b": 20.0}), Learnt(task="a"),
    ...     Evaluated(performance={"a": 90.0, "b": 30.0}), Learnt(task="b"),
    ...     Evaluated(performance={"a": 60.0, "b": 90.0})]
    >>> transfer(log)
    Transfer(forward={('a', 'b'): 0.2}, backward={('b', 'a'): -0.2})
    """
    forward: dict[tuple[str, str], list[float]] = {}
    backward: dict[tuple[str, str], list[float]] = {}
    learnt: set[str] = set()
    before: dict[str, float] = {}  # since the block before the current one
    after: dict[str, float] = {}  # since the current one
    current: str | None = None
    for entry in log:
        if isinstance(entry, Learnt):
            if current is not None:
                learnt.add(current)
            before, after, current = after, {}, entry.task
            continue
        for task, now in _above_zero(entry.performance).items():
            if task not in after and task in before and current not in (None, task):
                kind = backward if task in learnt else forward
                contrast = (now - before[task]) / (now + before[task])
                kind.setdefault((str(current), task), []).append(contrast)
            after[task] = now
    return Transfer(
        forward={pair: fmean(values) for pair, values in forward.items()},
        backward={pair: fmean(values) for pair, values in backward.items()},
    )


def relative_performance(performance: Sequence[float], expert: Sequence[float]) -> float:
    """Σ performance/Σ expert over their shared length, of one task: a learner against a specialist.

    expert: performance, after as much experience of the task, of a model that learnt it alone.
    1: as good. Above 0 (`scaled`).

    Errors: BadData for empty series or performance that is not finite and above 0. Source: baker:23.

    >>> relative_performance([10.0, 20.0], [20.0, 40.0, 80.0])
    0.5
    """
    shared = min(len(performance), len(expert))
    learner, alone = (_series(x)[:shared] for x in (performance, expert))
    return sum(learner) / sum(alone)


def sample_efficiency(
    performance: Sequence[float], expert: Sequence[float], *, window: int = 1
) -> float:
    """(sat/sat_expert)·(steps_expert/steps): a higher plateau, or an earlier one, than a specialist's.

    sat: the largest mean over `window` entries in a row; steps: entries until its end, first of
    equals. Arguments of `relative_performance`.

    Errors: BadData as there; BadConfig unless 1 <= window <= the shorter series. Source: baker:23.

    >>> sample_efficiency([10.0, 40.0, 40.0], [10.0, 20.0, 30.0, 40.0])  # as good, in half the steps
    2.0
    """
    learner, alone = _series(performance), _series(expert)
    if isinstance(window, bool) or not 1 <= window <= min(len(learner), len(alone)):
        raise BadConfig(f"the window must fit into both series, got {window!r}")
    best, steps = _saturation(learner, window)
    expert_best, expert_steps = _saturation(alone, window)
    return best / expert_best * expert_steps / steps


def recovery(times: Sequence[float]) -> float:
    """-median of (t_j - t_i)/(j - i), i < j: by how much each recovery takes less than the last.

    times: steps from each return to a task until its earlier performance is reached again. The
    median of slopes (Theil-Sen) heeds no single outlier.

    Errors: BadData for fewer than two times, or one that is not finite. Source: baker:23.

    >>> recovery([40.0, 30.0, 20.0])
    10.0
    """
    if len(times) < 2 or not all(math.isfinite(t) for t in times):
        raise BadData(f"a trend needs at least two finite recovery times, got {list(times)}")
    n = len(times)
    return -median((times[j] - times[i]) / (j - i) for i in range(n) for j in range(i + 1, n))


def _saturation(series: Sequence[float], window: int) -> tuple[float, int]:
    means = [fmean(series[i : i + window]) for i in range(len(series) - window + 1)]
    best = max(means)
    return best, means.index(best) + window


def _series(performance: Sequence[float]) -> list[float]:
    if not performance:
        raise BadData("the series of performance is empty")
    return list(_above_zero({str(i): x for i, x in enumerate(performance)}).values())


def _finite(performance: Mapping[str, float]) -> Mapping[str, float]:
    for task, value in performance.items():
        if not math.isfinite(value):
            raise BadData(f"performance must be finite, got {value} of {task!r}")
    return performance


def _above_zero(performance: Mapping[str, float]) -> Mapping[str, float]:
    for task, value in _finite(performance).items():
        if value <= 0:
            raise BadData(
                f"performance must be above 0, got {value} of {task!r}: put it on 1 to 101 (`scaled`)"
            )
    return performance
