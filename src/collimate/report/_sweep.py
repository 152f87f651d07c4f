"""The page of a sweep: its settings in the planes of its objectives, and what each came to."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

from collimate.report import _figures as draw
from collimate.report._blocks import Block, Chart, Fact, Facts, Prose, Tab, Table, Tiles
from collimate.report._format import ABSENT, clip, count, duration, number, plural, share
from collimate.report._frontier import COLOURS, SYMBOLS
from collimate.report._record import Interval, RunRecord
from collimate.report._sweep_record import ObjectiveFacts, SettingFacts, SweepRecord, load_sweep
from collimate.report._write import page_of, write_page


def write_sweep(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page of a sweep's folder and return its path; by default `frontier.html` in it.

    Errors: BadRun where the record cannot be read or the page cannot be written; MissingExtra
    without jinja2 or plotly.
    """
    sweep = load_sweep(Path(folder))
    head = RunRecord(
        folder=sweep.folder,
        name=sweep.name,
        status=sweep.status,
        created=sweep.created,
        seconds=sweep.seconds,
        versions=sweep.versions,
    )
    target = Path(folder) / "frontier.html" if path is None else Path(path)
    return write_page(target, page_of(head, sweep_tabs(sweep)))


def sweep_tabs(sweep: SweepRecord) -> tuple[Tab, ...]:
    """The front, and the runs behind it."""
    front: list[Block] = [_said(sweep), Tiles(tiles=_tiles(sweep))]
    front += [_chart(sweep, x, y) for x, y in combinations(sweep.objectives, 2)]
    front.append(_table(sweep))
    return (
        Tab(identity="front", title="Front", blocks=tuple(front)),
        Tab(identity="runs", title="Runs", blocks=_runs(sweep)),
    )


def _said(sweep: SweepRecord) -> Prose:
    compared = [one for one in sweep.settings if one.compared]
    best = [one.name for one in compared if one.on_front]
    failed = [one for one in sweep.settings if one.error is not None]
    said = [
        f"{plural(len(best), 'setting')} of {len(compared)} on the front: {'; '.join(best)}."
        if compared
        else "No setting has all its seeds yet."
    ]
    if len(_seeds(sweep)) == 1:
        said.append("One seed has no spread: intervals have length 0, and frequencies are 0 or 1.")
    if sweep.status == "running":
        said.append("The sweep was still going when this page was written.")
    said += [f"{one.name} failed: {clip(one.error or '', 300)}" for one in failed]
    return Prose(title="What it came to", sentences=tuple(said), tone="warn" if failed else "plain")


def _seeds(sweep: SweepRecord) -> set[int | None]:
    return {run.seed for one in sweep.settings for run in one.runs}


def _tiles(sweep: SweepRecord) -> tuple[Fact, ...]:
    runs = sum(len(one.runs) for one in sweep.settings)
    seeds = plural(len(_seeds(sweep)), "seed")
    found = [
        Fact(label="Settings", value=count(len(sweep.settings)), note=seeds),
        Fact(label="Runs", value=count(runs), note=duration(sweep.seconds)),
    ]
    if sweep.volume is not None:
        note = _interval(sweep.volume.interval)
        found.append(Fact(label="Hypervolume", value=number(sweep.volume.value), note=note))
    return tuple(found)


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else f"95 % [{number(ends[0])}, {number(ends[1])}]"


def _chart(sweep: SweepRecord, x: ObjectiveFacts, y: ObjectiveFacts) -> Chart:
    shown = [one for one in sweep.settings if {x.name, y.name} <= set(one.mean)]
    traces = [_line(curve.name, curve.values[x.name], curve.values[y.name])
              for curve in sweep.curves if {x.name, y.name} <= set(curve.values)]  # fmt: skip
    if len(sweep.objectives) == 2:  # a plane of more is a shadow, whose steps would mislead
        traces += _steps(shown, x, y)
    methods = list(dict.fromkeys(one.method for one in shown))
    for index, method in enumerate(methods):
        traces.append(_points([one for one in shown if one.method == method], x, y, index))
    figure = draw.figure(traces, x=draw.label(x.title, 80), y=draw.label(y.title, 80))
    figure["layout"] |= {"hovermode": "closest"}
    said = [
        f"{one.name}: {x.name} {number(one.mean[x.name])}, {y.name} {number(one.mean[y.name])}"
        for one in shown
    ]
    return Chart(
        identity=f"chart-{x.name}-{y.name}".replace(" ", "-"),
        title=f"{y.name} against {x.name}",
        figure=figure,
        summary="; ".join(said) or "No setting has a point yet.",
        caption=(
            "Means over seeds with 95 % bootstrap intervals; filled: on the front of all objectives.",
        ),
        half=len(sweep.objectives) > 2,
    )


def _points(
    settings: list[SettingFacts], x: ObjectiveFacts, y: ObjectiveFacts, index: int
) -> draw.Trace:
    colour = f"var(--{COLOURS[index % len(COLOURS)]})"
    trace: draw.Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": draw.label(settings[0].method),
        "text": [draw.label(one.name) for one in settings],
        "x": draw.numbers([one.mean[x.name] for one in settings]),
        "y": draw.numbers([one.mean[y.name] for one in settings]),
        "marker": {
            "color": [colour if one.on_front else "var(--surface)" for one in settings],
            "size": 10,
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "line": {"color": colour, "width": 2},
        },
        "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    }
    for axis, objective in (("error_x", x), ("error_y", y)):
        means = [one.mean[objective.name] for one in settings]
        ends = [
            one.interval.get(objective.name, (m, m)) for one, m in zip(settings, means, strict=True)
        ]
        trace[axis] = {
            "type": "data",
            "symmetric": False,
            "array": draw.numbers([e[1] - m for e, m in zip(ends, means, strict=True)]),
            "arrayminus": draw.numbers([m - e[0] for e, m in zip(ends, means, strict=True)]),
            "color": colour,
            "thickness": 1.2,
            "width": 3,
        }
    return trace


def _steps(shown: list[SettingFacts], x: ObjectiveFacts, y: ObjectiveFacts) -> list[draw.Trace]:
    """The edge of what the front dominates."""
    best = sorted((one.mean[x.name], one.mean[y.name]) for one in shown if one.on_front)
    if len(best) < 2:
        return []
    shape = "hv" if x.direction == "min" else "vh"
    trace = _line("front", [point[0] for point in best], [point[1] for point in best])
    trace["line"] = {**trace["line"], "dash": "dot", "shape": shape, "color": "var(--muted)"}
    return [{**trace, "hoverinfo": "skip", "hovertemplate": None}]


def _line(
    name: str, x: list[float] | tuple[float, ...], y: list[float] | tuple[float, ...]
) -> draw.Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": draw.label(name),
        "x": draw.numbers(x),
        "y": draw.numbers(y),
        "line": {"color": "var(--one)", "width": 2},
        "hovertemplate": "%{x:.4g}, %{y:.4g}",
    }


def _table(sweep: SweepRecord) -> Block:
    shown = [one for one in sweep.settings if one.compared]
    if not shown:
        return Prose(
            title="Settings", tone="empty", sentences=("No setting has all its seeds yet.",)
        )
    first = sweep.objectives[0].name
    rows = tuple(
        (
            one.name,
            *(
                f"{number(one.mean.get(o.name))} {_ends(one.interval.get(o.name))}".strip()
                for o in sweep.objectives
            ),
            "yes" if one.on_front else "no",
            share(one.frequency),
        )
        for one in sorted(shown, key=lambda one: (not one.on_front, one.mean[first]))
    )
    return Table(
        title="Settings",
        columns=("Setting", *(o.title for o in sweep.objectives), "On the front", "Frequency"),
        rows=rows,
        note="Means over seeds, in brackets 95 % bootstrap intervals, seeds redrawn whole. Frequency: "
        "share of the redraws in which the setting is on the front." + _about_volume(sweep),
    )


def _ends(ends: Interval | None) -> str:
    return "" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]"


def _about_volume(sweep: SweepRecord) -> str:
    if sweep.volume is None:
        return ""
    at = ", ".join(f"{name} {number(value)}" for name, value in sweep.volume.reference.items())
    measured = ", ".join(sweep.volume.measured)
    warned = (
        f" (the worst seen of {measured}: not to be compared with another sweep's)"
        if measured
        else ""
    )
    return f" Hypervolume: {number(sweep.volume.value)} from {at}{warned}."


def _runs(sweep: SweepRecord) -> tuple[Block, ...]:
    rows = tuple(
        (run.folder, *(number(run.values.get(o.name), 4) for o in sweep.objectives))
        for one in sweep.settings
        for run in one.runs
    )
    blocks: list[Block] = []
    if rows:
        titles = tuple(o.name for o in sweep.objectives)
        blocks.append(Table(title="Runs", columns=("Run folder", *titles), rows=rows))
    meanings = tuple(Fact(label=o.name, value=o.meaning) for o in sweep.objectives)
    blocks.append(Facts(title="Objectives", rows=meanings))
    config = {**sweep.config, **{f"machine {k}": v for k, v in sweep.machine.items()}}
    told = tuple(
        Fact(label=key, value=ABSENT if value is None else clip(_text(value), 600))
        for key, value in {**config, **sweep.versions}.items()
    )
    blocks.append(
        Facts(title="Configuration, machine, versions", rows=told, folded=True, code=True)
    )
    return tuple(blocks)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
