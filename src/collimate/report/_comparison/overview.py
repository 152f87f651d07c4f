"""The tab "Runs": what stands between the runs, a row for each, held-out accuracies, seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from collimate.report import _figures as draw
from collimate.report._alarms import alarms
from collimate.report._blocks import Bar, Bars, Block, Chart, Prose, Tab, Table
from collimate.report._comparison.comparable import agreement, doubts
from collimate.report._comparison.runs import Compared, by_setting
from collimate.report._displacement import displacement
from collimate.report._format import (
    ABSENT,
    accuracy,
    count,
    decimal,
    duration,
    number,
    signed,
    size,
)
from collimate.report._record import Evaluation, Interval
from collimate.report._words import PAIRS, Words, words_of

Figure = Callable[[Evaluation], float | None]
ACCURACIES: tuple[tuple[str, Figure, Callable[[Evaluation], Interval | None]], ...] = (
    (
        "likelihood",
        lambda e: e.likelihood_accuracy,
        lambda e: e.likelihood_accuracy_interval,
    ),
    ("reward", lambda e: e.reward_accuracy, lambda e: e.reward_accuracy_interval),
)


def overview_tab(runs: Sequence[Compared]) -> Tab:
    """Alarms, doubts, the table of runs, accuracies with intervals, seeds of one setting."""
    blocks: list[Block] = []
    alarmed = tuple(f"{run.label}: {found}" for run in runs for found in alarms(run.record))
    if alarmed:
        blocks.append(Prose(title="Before anything else", sentences=alarmed, tone="warn"))
    if doubted := doubts(runs):
        blocks.append(Prose(title="What not to compare", sentences=doubted, tone="warn"))
    elif agreed := agreement(runs):
        blocks.append(Prose(sentences=(agreed,)))
    blocks.append(_table(runs))
    bars = [found for which in ACCURACIES if (found := _accuracies(runs, *which)) is not None]
    blocks += bars
    if bars:
        blocks.append(_caution(runs))
    if len(groups := [group for group in by_setting(runs) if len(group) > 1]):
        blocks.append(_seeds(groups))
    return Tab(identity="runs", title="Runs", blocks=tuple(blocks))


def words_for(runs: Sequence[Compared]) -> Words:
    """The words that all runs share, else those of pairs."""
    kinds = {words_of(run.record) for run in runs}
    return kinds.pop() if len(kinds) == 1 else PAIRS


def _table(runs: Sequence[Compared]) -> Table:
    words = words_for(runs)
    return Table(
        title="Runs",
        columns=(
            "Run",
            "Method",
            "Steps",
            "Likelihood accuracy",
            "Reward accuracy",
            words.better.capitalize(),
            words.worse.capitalize(),
            "Time",
            "Memory",
        ),
        rows=tuple(map(_row, runs)),
        note="Accuracies are held-out, with 95 % bootstrap intervals by prompt. "
        f"{words.better.capitalize()} and {words.worse}: change of the mean log-prob of these "
        "answers since the start, in nats, held-out; with * over the last training steps. Memory: the "
        "peak.",
    )


def _row(run: Compared) -> tuple[str, ...]:
    record = run.record
    after, method, moved = record.after, record.method, displacement(record)
    star = "" if moved is None or moved.over.startswith("held-out") else " *"
    peak = max(record.peak_memory.values(), default=None)
    return (
        run.label,
        ABSENT if method is None else ", ".join(filter(None, (method.name, method.tradeoff))),
        count(record.steps) + ("" if record.status == "finished" else f" ({record.status})"),
        ABSENT
        if after is None
        else accuracy(after.likelihood_accuracy, after.likelihood_accuracy_interval),
        ABSENT
        if after is None
        else accuracy(after.reward_accuracy, after.reward_accuracy_interval),
        ABSENT if moved is None else f"{signed(moved.chosen)}{star}",
        ABSENT if moved is None else f"{signed(moved.rejected)}{star}",
        duration(record.seconds),
        size(peak),
    )


def _accuracies(
    runs: Sequence[Compared],
    which: str,
    value: Figure,
    interval: Callable[[Evaluation], Interval | None],
) -> Bars | None:
    """A point and its interval for each run that has one, the first run on top."""
    found = [(run, run.record.after) for run in runs if run.record.after is not None]
    measured = [(run, y, interval(e)) for run, e in found if (y := value(e)) is not None]
    points = [  # a share that is none cannot be drawn; the table says what it is
        point for point in measured if all(0 <= x <= 1 for x in (point[1], *(point[2] or ())))
    ]
    if not points:
        return None
    traces: list[draw.Trace] = []
    for place, (run, middle, bounds) in enumerate(points):
        low, high = bounds or (middle, middle)
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": draw.label(run.label),
                "x": draw.numbers([middle]),
                "y": [place],
                "marker": {"color": f"var(--{run.colour})", "size": 9},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": draw.numbers([high - middle]),
                    "arrayminus": draw.numbers([middle - low]),
                    "color": f"var(--{run.colour})",
                    "thickness": 2,
                    "width": 4,
                },
                "hovertemplate": "%{x:.4f}",
            }
        )
    figure = draw.figure(
        traces, x=f"share of {words_for(runs).units}", y="", legend=False, hovermode="closest"
    )
    figure["layout"]["yaxis"] |= {
        "tickvals": list(range(len(points))),
        "ticktext": [draw.label(run.label, 24) for run, _, _ in points],
        "range": [len(points) - 0.4, -0.6],
        "showgrid": False,
    }
    chart = Chart(
        identity=f"chart-{which}",
        title=f"Held-out {which} accuracy",
        figure=figure,
        summary="; ".join(f"{run.label}: {accuracy(y, bounds)}" for run, y, bounds in points),
    )
    ends = [(run, y, *(bounds or (y, y))) for run, y, bounds in points]
    ticks = ticks_over([value for _, *values in ends for value in values])
    first, span = ticks[0], ticks[-1] - ticks[0]

    def percent(value: float) -> float:
        return round(100 * (value - first) / span, 2)

    rows = tuple(
        Bar(
            name=run.label,
            colour=run.colour,
            middle=percent(y),
            low=percent(low),
            high=percent(high),
        )
        for run, y, low, high in ends
    )
    return Bars(rows=rows, ticks=tuple((percent(x), number(x)) for x in ticks), chart=chart)


def ticks_over(values: Sequence[float]) -> tuple[float, ...]:
    """Three to seven round numbers, evenly spread, the first and the last around all the shares.

    >>> ticks_over([0.54, 0.57, 0.63])
    (0.54, 0.56, 0.58, 0.6, 0.62, 0.64)
    >>> ticks_over([0.5])
    (0.494, 0.496, 0.498, 0.5, 0.502, 0.504, 0.506)
    """
    low, high = min(values), max(values)
    if high - low < 0.01:
        low, high = low - 0.005, high + 0.005
    step = next(s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if high - low <= 5 * s + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(n * step, 6) for n in range(first, last + 1))


def _caution(runs: Sequence[Compared]) -> Prose:
    units = words_for(runs).units
    return Prose(
        sentences=(
            "Bars are 95 % intervals. Where two do not overlap, the choice of held-out rows hardly "
            "explains the difference; overlapping intervals do not mean that there is no difference.",
            f"A paired comparison, over the same {units}, would be sharper, but a run records its "
            f"mean and not the outcome of each {words_for(runs).unit}. Several seeds of one setting "
            "also show how much of a difference is chance in training, which no interval here holds.",
        ),
    )


def _seeds(groups: Sequence[Sequence[Compared]]) -> Table:
    return Table(
        title="Seeds of one setting",
        columns=("Setting", "Seeds", "Likelihood accuracy", "Reward accuracy", "Loss", "Time"),
        rows=tuple(
            (
                _setting(group),
                ", ".join(
                    ABSENT if run.record.seed is None else str(run.record.seed) for run in group
                ),
                _spread(group, lambda e: e.likelihood_accuracy, 3),
                _spread(group, lambda e: e.reward_accuracy, 3),
                _spread(group, lambda e: e.loss, 4),
                _mean([run.record.seconds for run in group], duration),
            )
            for group in groups
        ),
        note="Mean over the seeds, lowest to highest in brackets: a range, not an interval. Held-out; "
        "runs without the figure are left out and counted.",
    )


def _setting(group: Sequence[Compared]) -> str:
    method = group[0].record.method
    name = "" if method is None else f"{method.name}, {method.tradeoff}: "
    return f"{name}{group[0].label} and {len(group) - 1} more"


def _spread(group: Sequence[Compared], figure: Figure, places: int) -> str:
    found = [figure(run.record.after) for run in group if run.record.after is not None]
    known = [value for value in found if value is not None]
    if not known:
        return ABSENT
    low, high = decimal(min(known), places), decimal(max(known), places)
    missing = len(group) - len(known)
    left_out = f" ({number(missing)} without)" if missing else ""
    return f"{decimal(sum(known) / len(known), places)} [{low}, {high}]{left_out}"


def _mean(values: Sequence[float | None], shown: Callable[[float | None], str]) -> str:
    known = [value for value in values if value is not None]
    return shown(sum(known) / len(known) if known else None)
