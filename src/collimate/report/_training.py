"""The tab "Training": curves, evaluation points on them, and displacement in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collimate.report import _figures as draw
from collimate.report._blocks import Block, Chart, Prose, Tab
from collimate.report._displacement import (
    displacement,
    drift,
    held_out_change,
    sentences,
    since_first,
)
from collimate.report._evaluations import Moments, evaluation_moments, evaluations_table, spread
from collimate.report._format import count, number, plural
from collimate.report._record import RunRecord
from collimate.report._thin import LIMIT, window
from collimate.report._words import Words, words_of

STEP = "step"


def training_tab(record: RunRecord) -> Tab:
    """Curves over steps, the displacement text, and a table of evaluations."""
    blocks: list[Block] = [*_notices(record)]
    moments = evaluation_moments(record)
    if len(record.training):
        circles = spread(moments)
        blocks += [
            _displacement_text(record),
            _displacement_chart(record, circles),
            _loss(record, circles),
            _accuracies(record, circles),
            _gradient(record),
            _rate(record),
        ]
    if moments:
        blocks.append(evaluations_table(moments, words_of(record)))
    else:
        blocks.append(
            Prose(
                title="Evaluations",
                tone="empty",
                sentences=(
                    "This run has no held-out evaluation.",
                    "Name an evaluation file when training to have one.",
                ),
            )
        )
    return Tab(identity="training", title="Training", blocks=tuple(blocks))


def _notices(record: RunRecord) -> list[Prose]:
    steps, found = record.training, list[str]()
    if not len(steps):
        return [
            Prose(
                tone="empty",
                sentences=("No training step has been logged yet, so there is no curve to draw.",),
            )
        ]
    if record.partial_lines:
        found.append(
            "The last line of metrics.jsonl was incomplete and was left out: "
            "the run was writing it, or was killed."
        )
    skipped = np.diff(np.nan_to_num(steps.skipped_steps), prepend=0.0) > 0  # the summary says so
    broken = {
        "loss": ~np.isfinite(steps.loss) & ~skipped,
        "gradient norm": np.isinf(steps.gradient_norm),
    }
    for name, where in broken.items():
        if where.any():
            first = count(steps.step[where][0])
            found.append(
                f"The {name} is missing or not finite on {plural(int(where.sum()), 'step')}, "
                f"first on step {first}: "
                "try a smaller learning rate, clipping, or float32."
            )
    beyond = int(np.nansum(steps.linear_continuation))
    if beyond:
        found.append(
            f"{plural(beyond, words_of(record).unit)} (counted step by step) lay beyond the range of the "
            "closed-form margin, which continues linearly there."
        )
    return [Prose(tone="warn", sentences=tuple(found))] if found else []


def _drawn(record: RunRecord, *, faint: bool = True) -> tuple[str, ...]:
    """How a noisy chart was drawn, so that nobody takes a moving average for the data."""
    points = len(record.training)
    span = window(points)
    found: list[str] = []
    if span > 1:
        mean = f"oving average over {span} logged steps"
        found.append(f"Bold: m{mean}; faint: every step." if faint else f"Lines: m{mean}.")
    if points > LIMIT:
        found.append(
            f"{points:,} logged steps are drawn as at most {LIMIT:,} points per line: "
            "the lowest and the highest of each stretch, so spikes stay."
        )
    return tuple(found)


def _circles(points: Sequence[object], words: Words, more: str = "") -> tuple[str, ...]:
    return (f"Circles: held-out {words.units}{more}.",) if points else ()


def _loss(record: RunRecord, evaluations: Moments) -> Chart:
    steps, words = record.training, words_of(record)
    traces = draw.curve("training", steps.step, steps.loss, "one")
    points = [(step, figures.loss) for step, figures in evaluations if figures.loss is not None]
    if points:
        traces.append(draw.marks("held-out", [s for s, _ in points], [y for _, y in points], "one"))
    return Chart(
        identity="chart-loss",
        half=True,
        title="Loss",
        figure=draw.figure(traces, x=STEP, y=f"mean loss per {words.unit}", legend=False),
        summary=f"Loss over steps: {_ends(steps.loss)}.",
        caption=(*_drawn(record), *_circles(points, words)),
    )


def _accuracies(record: RunRecord, evaluations: Moments) -> Chart:
    steps, words = record.training, words_of(record)
    traces = draw.curve("reward", steps.step, steps.reward_accuracy, "two", faint=False)
    traces += draw.curve("likelihood", steps.step, steps.likelihood_accuracy, "three", faint=False)
    reward = [(s, e.reward_accuracy, e.reward_accuracy_interval) for s, e in evaluations]
    likelihood = [
        (s, e.likelihood_accuracy, e.likelihood_accuracy_interval) for s, e in evaluations
    ]
    for name, colour, points in (
        ("reward, held-out", "two", reward),
        ("likelihood, held-out", "three", likelihood),
    ):
        known = [(s, y, bounds) for s, y, bounds in points if y is not None]
        if known:
            traces.append(
                draw.marks(
                    name,
                    [p[0] for p in known],
                    [p[1] for p in known],
                    colour,
                    [p[2] for p in known],
                )
            )
    return Chart(
        identity="chart-accuracy",
        half=True,
        title="Accuracies",
        figure=draw.figure(traces, x=STEP, y=f"share of {words.units}", shapes=[draw.level(0.5)]),
        summary=f"Reward accuracy over steps: {_ends(steps.reward_accuracy)}; "
        f"likelihood accuracy: {_ends(steps.likelihood_accuracy)}.",
        caption=(
            f"Reward: {words.reward}. Likelihood: {words.likelihood}. Dotted: chance.",
            *_drawn(record, faint=False),
            *_circles([*reward, *likelihood], words, ", with 95 % intervals"),
        ),
    )


def _displacement_text(record: RunRecord) -> Prose:
    found = displacement(record)
    words = words_of(record)
    title = f"{words.better.capitalize()} and {words.worse} answers"
    if found is None:
        said = ("Nothing that this run logged says how these answers moved.",)
        return Prose(title=title, tone="empty", sentences=said)
    tone = "warn" if found.gap < 0 else "plain"
    return Prose(title=title, sentences=sentences(found, record.method), tone=tone)


def _displacement_chart(record: RunRecord, evaluations: Moments) -> Chart:
    steps, words = record.training, words_of(record)
    chosen, rejected = drift(record)
    relative = bool(np.isfinite(chosen).any())
    if not relative:
        chosen, rejected = since_first(steps.log_prob_chosen), since_first(steps.log_prob_rejected)
    bold = draw.curve(words.better, steps.step, chosen, "chosen")
    lost = np.minimum(draw.smooth(chosen, window(len(chosen))), 0.0)
    shade = draw.line(
        f"{words.better} answers below their start",
        steps.step,
        lost,
        "chosen",
        fill="tozeroy",
        fillcolor="var(--chosen-pale)",
        mode="lines",
        hoverinfo="skip",
        hovertemplate=None,
        showlegend=False,
    )
    shade["line"] = {"width": 0, "color": "var(--chosen-pale)"}
    traces = [shade] if np.nanmin(lost, initial=0.0) < 0 else []
    traces += bold + draw.curve(words.worse, steps.step, rejected, "rejected")
    changes = [(step, held_out_change(record, figures)) for step, figures in evaluations]
    points = [(step, change) for step, change in changes if change is not None]
    for index, (name, colour) in enumerate(((words.better, "chosen"), (words.worse, "rejected"))):
        if points:
            ends = [change[index] for _, change in points]
            traces.append(draw.marks(f"{name}, held-out", [s for s, _ in points], ends, colour))
    noise = f"steps hold different {words.units}, so small moves are noise."
    if not relative:
        meaning = (
            f"Mean log-prob of each step's {words.units}, less the first step's. There is no reference, "
            f"and {noise}"
        )
    elif record.starts_at_reference:
        meaning = (
            "Mean log-ratio of the given answers to the start of training (not a KL). Below the "
            "dotted line an answer is less probable than at the start; shaded: what the "
            f"{words.better} lost."
        )
    else:
        meaning = (
            f"Mean log-ratio of each step's {words.units} to the reference (not a KL), less the first "
            f"step's. The reference is another model, and {noise}"
        )
    return Chart(
        identity="chart-displacement",
        title=f"Log-probability of {words.better} and {words.worse} answers since the start",
        figure=draw.figure(traces, x=STEP, y="nats per answer", shapes=[draw.level(0.0)]),
        summary=f"Change in nats over steps. {words.better.capitalize()}: {_ends(chosen)}; "
        f"{words.worse}: {_ends(rejected)}.",
        caption=(meaning, *_drawn(record), *_circles(points, words)),
    )


def _gradient(record: RunRecord) -> Chart:
    steps = record.training
    traces = draw.curve("gradient norm", steps.step, steps.gradient_norm, "one")
    figure = draw.figure(traces, x=STEP, y="norm", legend=False)
    figure["layout"]["yaxis"] |= {"rangemode": "tozero"}
    return Chart(
        identity="chart-gradient",
        half=True,
        title="Gradient norm",
        figure=figure,
        summary=f"Gradient norm over steps: {_ends(steps.gradient_norm)}.",
        caption=_drawn(record),
    )


def _rate(record: RunRecord) -> Chart:
    steps = record.training
    trace = draw.line("learning rate", steps.step, steps.learning_rate, "one")
    figure = draw.figure([trace], x=STEP, y="learning rate", legend=False)
    figure["layout"]["yaxis"] |= {"exponentformat": "power", "rangemode": "tozero"}
    return Chart(
        identity="chart-rate",
        half=True,
        title="Learning rate",
        figure=figure,
        summary=f"Learning rate over steps: {_ends(steps.learning_rate)}.",
    )


def _ends(values: draw.Array) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "not logged"
    return f"from {number(float(known[0]))} to {number(float(known[-1]))}"
