"""Runs side by side: their curves over one another, what differs in their settings, where they ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from collimate.report import _figures as draw
from collimate.report._blocks import Block, Chart, Prose, Tab, Table
from collimate.report._displacement import displacement, drift
from collimate.report._format import ABSENT, accuracy, clip, count, decimal, duration, signed
from collimate.report._frontier import DASHES, SYMBOLS
from collimate.report._record import Evaluation, Frontier, RunRecord, Training

COLOURS = ("one", "two", "rejected", "chosen", "four", "five")
MOST_RUNS = len(COLOURS)

Runs = Sequence[tuple[str, RunRecord]]
"""(name, record) of each run; a run keeps its colour in every chart."""


def compare(runs: Runs) -> Tab:
    """The blocks of a comparison of at most `MOST_RUNS` runs.

    >>> from pathlib import Path
    >>> found = compare([(name, RunRecord(folder=Path(name), name=name)) for name in "ab"])
    >>> [block.kind for block in found.blocks]
    ['table', 'prose', 'prose']
    """
    blocks: list[Block] = [_ends(runs), _settings(runs)]
    if any(len(record.training) for _, record in runs):
        blocks += [
            _curves("Loss", "mean loss per example", runs, lambda r: r.training.loss),
            _curves("Gap", "nats", runs, _gap, level=0.0),
            _curves(
                "Chosen answers", "nats since the start", runs, lambda r: drift(r)[0], level=0.0
            ),
            _curves(
                "Rejected answers", "nats since the start", runs, lambda r: drift(r)[1], level=0.0
            ),
            _curves("Reward accuracy", "share", runs, _accuracy, level=0.5),
            _curves("Gradient norm", "norm", runs, lambda r: r.training.gradient_norm),
        ]
    else:
        blocks.append(Prose(tone="empty", sentences=("None of these runs has logged a step yet.",)))
    if any(record.frontier is not None for _, record in runs):
        blocks.append(_frontier(runs))
    return Tab(identity="compare", title="Comparison", blocks=tuple(blocks))


def _gap(record: RunRecord) -> draw.Array:
    chosen, rejected = drift(record)
    return chosen - rejected


def _accuracy(record: RunRecord) -> draw.Array:
    return record.training.reward_accuracy


def _curves(
    title: str,
    y: str,
    runs: Runs,
    pick: Callable[[RunRecord], draw.Array],
    *,
    level: float | None = None,
) -> Chart:
    traces: list[draw.Trace] = []
    for (name, record), colour in zip(runs, COLOURS, strict=False):
        steps: Training = record.training
        values = pick(record)
        if np.isfinite(values).any():
            traces += draw.curve(draw.label(name), steps.step, values, colour, faint=False)
    shapes = [] if level is None else [draw.level(level)]
    return Chart(
        identity=f"chart-{title.lower().replace(' ', '-')}",
        title=title,
        figure=draw.figure(traces, x="step", y=y, shapes=shapes),
        summary=f"{title} over steps of {', '.join(name for name, _ in runs)}.",
        caption=("Moving averages; each run has one colour in all charts.",),
        half=True,
    )


def _ends(runs: Runs) -> Table:
    def final(record: RunRecord) -> Evaluation | None:
        return record.after or (record.evaluations[-1][1] if record.evaluations else None)

    def of(pick: Callable[[Evaluation], str]) -> Callable[[RunRecord], str]:
        return lambda record: ABSENT if (x := final(record)) is None else pick(x)

    def moved(pick: str) -> Callable[[RunRecord], str]:
        return lambda record: signed(getattr(displacement(record), pick, None))

    lines: list[tuple[str, Callable[[RunRecord], str]]] = [
        ("Status", lambda r: r.status),
        ("Method", lambda r: r.method.name if r.method else ABSENT),
        ("Steps logged", lambda r: count(r.training.step[-1] if len(r.training) else 0)),
        ("Time", lambda r: duration(r.seconds)),
        ("Held-out rows", of(lambda e: count(e.rows))),
        ("Held-out loss", of(lambda e: decimal(e.loss, 3))),
        ("Reward accuracy", of(lambda e: accuracy(e.reward_accuracy, e.reward_accuracy_interval))),
        (
            "Likelihood accuracy",
            of(lambda e: accuracy(e.likelihood_accuracy, e.likelihood_accuracy_interval)),
        ),
        ("Chosen answers, nats", moved("chosen")),
        ("Rejected answers, nats", moved("rejected")),
    ]
    return Table(
        title="Where they ended",
        columns=("", *(name for name, _ in runs)),
        rows=tuple((title, *(value(record) for _, record in runs)) for title, value in lines),
        note="Brackets: 95 % bootstrap intervals by prompt. Losses of different methods do not compare.",
    )


def _settings(runs: Runs) -> Block:
    """The settings in which they differ; a setting that a run does not have is a dash."""
    settings = [_flat(record) for _, record in runs]
    names = sorted({name for found in settings for name in found})
    rows = tuple(
        (name, *(clip(found.get(name, ABSENT), 200) for found in settings))
        for name in names
        if len({found.get(name) for found in settings}) > 1
    )
    if not rows:
        return Prose(title="What differs", tone="empty", sentences=("No setting differs.",))
    columns = ("", *(name for name, _ in runs))
    return Table(title="What differs", columns=columns, rows=rows)


def _flat(record: RunRecord) -> Mapping[str, str]:
    found = {name: _text(value) for name, value in record.config.items() if name != "out"}
    if record.method is not None:
        found |= {"divergence": record.method.divergence, "margin": record.method.margin}
    if record.train_data is not None:
        found["hash of the data"] = record.train_data.hash
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _frontier(runs: Runs) -> Chart:
    """Every run's points over the curves of the first world."""
    traces: list[draw.Trace] = []
    for index, (name, record) in enumerate(runs):
        if record.frontier is None:
            continue
        if not traces:
            traces += _optima(record.frontier)
        points = record.frontier.points
        marks = draw.marks(
            draw.label(name), [p.kl for p in points], [p.reward for p in points], COLOURS[index]
        )
        marks["marker"] |= {"symbol": SYMBOLS[index], "size": 11}
        traces.append({**marks, "showlegend": True})
    return Chart(
        identity="chart-frontier",
        title="Reward against KL",
        figure=draw.figure(traces, x="KL to the reference (nats)", y="expected reward"),
        summary="; ".join(
            f"{name}, {point.name}: KL {decimal(point.kl, 3)}, reward {decimal(point.reward, 3)}"
            for name, record in runs
            if record.frontier is not None
            for point in record.frontier.points
        ),
        caption=("Lines: the exact optima of the first run's world.",),
    )


def _optima(frontier: Frontier) -> list[draw.Trace]:
    traces: list[draw.Trace] = []
    for index, curve in enumerate(frontier.curves):
        trace = draw.line(
            draw.label(curve.name), np.array(curve.kl), np.array(curve.reward), "five"
        )
        traces.append({**trace, "line": {**trace["line"], "dash": DASHES[index % len(DASHES)]}})
    return traces
