"""The tab "Summary": what was run, and what it came to."""

from __future__ import annotations

import json
import math

from collimate.report._alarms import alarms
from collimate.report._blocks import Block, Fact, Facts, Prose, Tab, Tiles
from collimate.report._displacement import displacement
from collimate.report._format import (
    ABSENT,
    accuracy,
    clip,
    count,
    decimal,
    duration,
    moment,
    number,
    plural,
    signed,
)
from collimate.report._record import Evaluation, RunRecord
from collimate.report._verdict import judged_alone, verdict
from collimate.report._words import Words, words_of

AXES = (
    ("distribution", "Distribution", "which samples, drawn from whom"),
    ("divergence", "Divergence", "what ties the policy to the reference"),
    ("margin", "Margin", "what must exceed what"),
    ("loss", "Loss", "what a missed margin costs"),
    ("tradeoff", "Trade-off", "how strongly, and where on the frontier"),
)


def summary_tab(record: RunRecord) -> Tab:
    """Alarms, verdict, key numbers, what was run, the five choices, every setting."""
    tone = (
        "bad" if record.status == "failed" else "warn" if record.status != "finished" else "plain"
    )
    blocks: list[Block] = []
    if found := alarms(record):
        blocks.append(Prose(title="Before anything else", sentences=found, tone="warn"))
    blocks.append(Prose(title="What it came to", sentences=verdict(record), tone=tone))
    tiles = _tiles(record)
    if tiles:
        blocks.append(Tiles(tiles=tiles))
    blocks += [_what(record), _choices(record)]
    if record.config:
        blocks.append(_settings(record))
    return Tab(identity="summary", title="Summary", blocks=tuple(blocks))


def _tiles(record: RunRecord) -> tuple[Fact, ...]:
    found: list[Fact] = []
    before, after, words = record.before, record.after, words_of(record)
    if after is not None and not judged_alone(after):
        found.append(
            Fact(
                label="Held-out likelihood accuracy",
                value=_arrow(before and before.likelihood_accuracy, after.likelihood_accuracy),
                note=_interval(after, "likelihood", words),
            )
        )
    if after is not None:
        found.append(
            Fact(
                label="Held-out reward accuracy",
                value=decimal(after.reward_accuracy, 2),
                note=_interval(after, "reward", words),
            )
        )
    moved = displacement(record)
    if moved is not None:
        found.append(
            Fact(
                label=f"{words.better.capitalize()} answers",
                value=f"{signed(moved.chosen)} nats",
                note=f"on {moved.over}",
            )
        )
        found.append(
            Fact(
                label=f"{words.worse.capitalize()} answers",
                value=f"{signed(moved.rejected)} nats",
                note=f"on {moved.over}",
            )
        )
    return tuple(found)


def _arrow(before: float | None, after: float | None) -> str:
    return decimal(after, 2) if before is None else f"{decimal(before, 2)} → {decimal(after, 2)}"


def _interval(evaluation: Evaluation, which: str, words: Words) -> str:
    bounds = (
        evaluation.likelihood_accuracy_interval
        if which == "likelihood"
        else evaluation.reward_accuracy_interval
    )
    known = [f"95 % {accuracy(0.0, bounds).partition(' ')[2]}"] if bounds else []
    return ", ".join([*known, plural(evaluation.rows, words.unit)] if evaluation.rows else known)


def _what(record: RunRecord) -> Facts:
    model, data, held = record.model, record.train_data, record.evaluation_data
    method = record.method
    rows = [
        Fact(
            label="Method",
            value=method.name if method else ABSENT,
            note=method.source if method else "",
        )
    ]
    if model is not None:
        rows.append(Fact(label="Model", value=model.path or ABSENT, note=model.architecture))
        trained = "all trained"
        if model.trainable is not None and model.trainable != model.parameters:
            trained = f"{count(model.trainable)} trained"
        rows.append(
            Fact(
                label="Parameters",
                value=count(model.parameters),
                note=trained if model.parameters else "",
            )
        )
    else:
        rows.append(Fact(label="Model", value="not recorded yet"))
    if data is not None:
        rows.append(
            Fact(
                label="Training data",
                value=data.file or ABSENT,
                note=f"{count(data.used)} rows used",
            )
        )
    else:
        rows.append(Fact(label="Training data", value="not recorded yet"))
    rows.append(
        Fact(
            label="Held-out data",
            value=(held.file or ABSENT) if held else "none" if data else "not recorded yet",
            note="" if held is None else f"{count(held.used)} rows used",
        )
    )
    rows += [
        Fact(label="Steps", value=count(record.steps), note=_epochs(record)),
        Fact(label="Time", value=duration(record.seconds)),
        Fact(label="Device", value=_machine(record)),
        Fact(label="Seed", value=ABSENT if record.seed is None else str(record.seed)),
        Fact(label="Started", value=moment(record.created) or ABSENT),
        Fact(label="Status", value=record.status),
        Fact(
            label="Versions",
            value=", ".join(f"{k} {v}" for k, v in record.versions.items()) or ABSENT,
        ),
        Fact(label="Run folder", value=str(record.folder)),
    ]
    return Facts(title="What was run", rows=tuple(rows), two=True)


def _epochs(record: RunRecord) -> str:
    if not len(record.training):
        return ""
    epochs = float(record.training.epoch[-1])
    if math.isnan(epochs):
        return ""
    return "1 epoch" if epochs == 1 else f"{number(epochs)} epochs"


def _machine(record: RunRecord) -> str:
    names = {
        "device": "{}",
        "threads": "{} threads",
        "memory_gb": "{} GB memory",
        "processes": "{} processes",
    }
    found = [
        names.get(key, f"{key.replace('{', '').replace('}', '')} {{}}").format(value)
        for key, value in record.machine.items()
        if value is not None
    ]
    return ", ".join(found) or ABSENT


def _choices(record: RunRecord) -> Block:
    method = record.method
    if method is None:
        return Prose(
            title="The five choices",
            tone="empty",
            sentences=("The run has not recorded its method yet.",),
        )
    rows = tuple(
        Fact(label=title, value=getattr(method, name) or ABSENT, note=question)
        for name, title, question in AXES
    )
    return Facts(
        title="The five choices",
        rows=rows,
        note=f"A method is five choices; {method.name or 'this one'} is these.",
    )


def _settings(record: RunRecord) -> Facts:
    rows = tuple(Fact(label=name, value=_setting(value)) for name, value in record.config.items())
    return Facts(title=f"All {len(rows)} settings", rows=rows, folded=True, code=True)


def _setting(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clip(text, 400)
