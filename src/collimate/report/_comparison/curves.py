"""The tab "Curves": one line per run in each chart, and one legend for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from collimate.report import _figures as draw
from collimate.report._blocks import Block, Chart, Key, Legend, Prose, Tab
from collimate.report._comparison.overview import words_for
from collimate.report._comparison.runs import Compared, by_setting
from collimate.report._displacement import drift, held_out_change, since_first
from collimate.report._evaluations import evaluation_moments, spread
from collimate.report._format import number
from collimate.report._record import Evaluation, RunRecord
from collimate.report._thin import smooth, window

MOST_SHOWN = 12  # lines that can still be told apart; the others wait in the legend
POINTS = 6000  # of all lines of the page, whatever their number
FEWEST, MOST = 50, 200  # per line

Series = Callable[[RunRecord], draw.Array]
HeldOut = Callable[[RunRecord, Evaluation], float | None]


def curves_tab(runs: Sequence[Compared]) -> Tab:
    """Loss, accuracies, moves of chosen and rejected and their gap over steps, run by run."""
    drawn = [run for run in runs if len(run.record.training)]
    if not drawn:
        nothing = Prose(tone="empty", sentences=("No run has logged a training step yet.",))
        return Tab(identity="curves", title="Curves", blocks=(nothing,))
    words = words_for(runs)
    blocks: list[Block] = [_legend(runs)]
    for identity, title, y, series, held_out, level in (
        (
            "loss",
            "Loss",
            f"mean loss per {words.unit}",
            lambda record: record.training.loss,
            lambda record, figures: figures.loss,
            None,
        ),
        (
            "reward-accuracy",
            "Reward accuracy",
            f"share of {words.units}",
            lambda record: record.training.reward_accuracy,
            lambda record, figures: figures.reward_accuracy,
            0.5,
        ),
        (
            "likelihood-accuracy",
            "Likelihood accuracy",
            f"share of {words.units}",
            lambda record: record.training.likelihood_accuracy,
            lambda record, figures: figures.likelihood_accuracy,
            0.5,
        ),
        (
            "gap",
            "Gap since the start",
            f"nats, {words.better} less {words.worse}",
            lambda record: moves(record)[0] - moves(record)[1],
            lambda record, figures: _gap(held_out_change(record, figures)),
            0.0,
        ),
        (
            "chosen",
            f"{words.better.capitalize()} answers since the start",
            "nats per answer",
            lambda record: moves(record)[0],
            lambda record, figures: _part(held_out_change(record, figures), 0),
            0.0,
        ),
        (
            "rejected",
            f"{words.worse.capitalize()} answers since the start",
            "nats per answer",
            lambda record: moves(record)[1],
            lambda record, figures: _part(held_out_change(record, figures), 1),
            0.0,
        ),
    ):
        chart = _chart(runs, f"chart-{identity}", title, y, series, held_out, level)
        if chart is not None:
            blocks.append(chart)
    blocks.append(
        Prose(
            title="How to read these curves",
            sentences=(
                "Lines are moving averages over about a twentieth of a run's logged steps, of "
                "training data; circles are held-out.",
                f"{words.better.capitalize()} and {words.worse}: mean log-ratio of the given "
                "answers to the start of training (not a KL), or the change of their log-prob where "
                "there is no reference.",
            ),
        )
    )
    return Tab(identity="curves", title="Curves", blocks=tuple(blocks))


def moves(record: RunRecord) -> tuple[draw.Array, draw.Array]:
    """Change of the given answers' log-probs since the start (nats), [logged step] each."""
    chosen, rejected = drift(record)
    if np.isfinite(chosen).any():
        return chosen, rejected
    steps = record.training
    return since_first(steps.log_prob_chosen), since_first(steps.log_prob_rejected)


def _gap(change: tuple[float, float] | None) -> float | None:
    return None if change is None else change[0] - change[1]


def _part(change: tuple[float, float] | None, index: int) -> float | None:
    return None if change is None else change[index]


def _legend(runs: Sequence[Compared]) -> Legend:
    """A key for each run; beyond `MOST_SHOWN`, the settings take turns with their seeds."""
    turns = [turn for group in by_setting(runs) for turn in enumerate(group)]
    first = [run for _, run in sorted(turns, key=lambda turn: turn[0])][:MOST_SHOWN]
    keys = tuple(
        Key(name=run.label, colour=run.colour, dash=run.dash, shown=run in first) for run in runs
    )
    note = f"{MOST_SHOWN} of {len(runs)} runs are shown, each setting's first; choose others here."
    return Legend(keys=keys, note=note if len(runs) > MOST_SHOWN else "")


def _chart(
    runs: Sequence[Compared],
    identity: str,
    title: str,
    y: str,
    series: Series,
    held_out: HeldOut,
    level: float | None,
) -> Chart | None:
    """One chart; None where no run has the series. A trace's `meta` is the number of its run."""
    limit = min(max(POINTS // (6 * len(runs)), FEWEST), MOST)
    traces: list[draw.Trace] = []
    ends: list[str] = []
    for place, run in enumerate(runs):
        steps, values = run.record.training.step, series(run.record)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        mean = smooth(values, window(len(values)))
        trace = draw.line(draw.label(run.label), steps, mean, run.colour, limit=limit, meta=place)
        trace["line"] = {**trace["line"], "dash": run.dash}
        traces.append(trace)
        ends.append(f"{run.label}: {number(float(known[0]))} to {number(float(known[-1]))}")
        moments = spread(evaluation_moments(run.record))
        points = [(step, held_out(run.record, figures)) for step, figures in moments]
        marked = [(step, value) for step, value in points if value is not None]
        if marked:
            marks = draw.marks(
                f"{draw.label(run.label)}, held-out",
                [step for step, _ in marked],
                [value for _, value in marked],
                run.colour,
            )
            traces.append({**marks, "meta": place, "hoverinfo": "skip", "hovertemplate": None})
    if not traces:
        return None
    shapes = [] if level is None else [draw.level(level)]
    figure = draw.figure(traces, x="step", y=y, legend=False, shapes=shapes)
    # With both margins left to it, plotly can go round in circles between labels and sizes.
    figure["layout"]["xaxis"] |= {"automargin": False}
    figure["layout"]["margin"] |= {"b": 46}
    return Chart(
        identity=identity,
        half=True,
        title=title,
        figure=figure,
        summary=f"{title} over steps. {'; '.join(ends)}.",
    )
