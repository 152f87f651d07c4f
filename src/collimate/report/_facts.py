"""The tabs "Data" and "Engine": counts and measurements as they were recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collimate.report._blocks import Block, Fact, Facts, Prose, Tab, Table
from collimate.report._format import ABSENT, count, duration, number, plural, share, size
from collimate.report._record import DataFacts, Lengths, ModelFacts, ReferenceFacts, RunRecord
from collimate.report._words import Words, words_of


def data_tab(record: RunRecord) -> Tab:
    """Both files side by side: rows, skipped rows, lengths, truncations, notes."""
    files = [
        (title, facts)
        for title, facts in (("Training", record.train_data), ("Held-out", record.evaluation_data))
        if facts is not None
    ]
    blocks: list[Block] = []
    if record.train_data is None:
        blocks.append(
            Prose(tone="empty", sentences=("The run has not recorded its training data yet.",))
        )
    if files:
        blocks += [
            Facts(title=f"{title} data", rows=_source(facts), half=True) for title, facts in files
        ]
        if record.evaluation_data is None:
            sentence = "No held-out file was given to this run."
            blocks.append(
                Prose(title="Held-out data", tone="empty", sentences=(sentence,), half=True)
            )
        words = words_of(record)
        blocks += [_counts(files, words), _lengths(files, words)]
    for title, facts in files:
        blocks += _remarks(title, facts)
    return Tab(identity="data", title="Data", blocks=tuple(blocks))


def _source(facts: DataFacts) -> tuple[Fact, ...]:
    rows = [
        Fact(label="File", value=facts.file or ABSENT),
        Fact(label="Format", value=facts.format or ABSENT),
    ]
    return (*rows, Fact(label="Hash", value=facts.hash)) if facts.hash else tuple(rows)


def _counts(files: list[tuple[str, DataFacts]], words: Words) -> Table:
    kinds: list[tuple[str, Callable[[DataFacts], str]]] = [
        ("Rows", lambda f: count(f.rows)),
        ("Rows used", lambda f: count(f.used)),
        ("Rows skipped", lambda f: count(sum(f.skipped.values()))),
        ("Prompts truncated", lambda f: count(f.prompts_truncated)),
        ("Answers truncated", lambda f: count(f.answers_truncated)),
        ("Duplicates", lambda f: count(f.duplicates)),
        (
            f"{words.better.capitalize()} answer is the longer one",
            lambda f: share(f.chosen_longer),
        ),
        (
            "Prompt and answer tokenise otherwise when joined",
            lambda f: count(f.joint_tokenisation_differs),
        ),
    ]
    return Table(
        title="Rows",
        columns=("", *(title for title, _ in files)),
        rows=tuple((name, *(value(facts) for _, facts in files)) for name, value in kinds),
        half=True,
    )


def _lengths(files: list[tuple[str, DataFacts]], words: Words) -> Table:
    kinds: list[tuple[str, Callable[[DataFacts], Lengths | None]]] = [
        ("Prompt", lambda f: f.prompt_tokens),
        (f"{words.better.capitalize()} answer", lambda f: f.chosen_tokens),
        (f"{words.worse.capitalize()} answer", lambda f: f.rejected_tokens),
    ]
    rows: list[tuple[str, ...]] = []
    for name, pick in kinds:
        found = [pick(facts) for _, facts in files]
        rows.append((f"{name}, median", *(number(x and x.median) for x in found)))
        rows.append((f"{name}, longest", *(count(x and x.max) for x in found)))
    columns = ("", *(title for title, _ in files))
    return Table(title="Lengths in tokens", columns=columns, rows=tuple(rows), half=True)


def _remarks(title: str, facts: DataFacts) -> list[Block]:
    blocks: list[Block] = []
    if facts.skipped:
        reasons = sorted(facts.skipped.items(), key=lambda item: -item[1])
        blocks.append(
            Table(
                title=f"{title} rows skipped, by reason",
                columns=("Reason", "Rows"),
                rows=tuple((reason, count(n)) for reason, n in reasons),
                note="Each is listed in bad_rows.jsonl.",
                half=True,
            )
        )
    if facts.notes:
        blocks.append(
            Prose(title=f"Notes on the {title.lower()} data", sentences=facts.notes, half=True)
        )
    return blocks


def engine_tab(record: RunRecord) -> Tab:
    """Layout and its check, sizes, the reference's cache, speed."""
    blocks: list[Block] = []
    blocks += _layout(record.model) if record.model else []
    if record.reference is not None:
        blocks.append(_reference(record.reference))
    speed = _speed(record)
    blocks.append(
        Facts(
            title="Speed",
            rows=speed,
            note="Training steps only; evaluation and saving are not in it.",
            half=True,
        )
        if speed
        else Prose(
            title="Speed",
            tone="empty",
            sentences=("No step with a time has been logged yet.",),
            half=True,
        )
    )
    if record.sizes:
        blocks.append(_sizes(record))
    if record.phases:
        blocks.append(_phases(record))
    if record.model is None:
        blocks.insert(
            0, Prose(tone="empty", sentences=("The run has not recorded its model yet.",))
        )
    return Tab(identity="engine", title="Engine", blocks=tuple(blocks))


def _layout(model: ModelFacts) -> list[Block]:
    meaning = {"shared": "shared prompt", "plain": "plain"}.get(
        model.layout, model.layout or ABSENT
    )
    what = {
        "shared": "each prompt is computed once for all its answers",
        "plain": "prompt and answer are computed together for each answer",
    }
    rows = [Fact(label="Layout", value=meaning, note=what.get(model.layout, ""))]
    if model.layout_reason:
        rows.append(Fact(label="Why", value=model.layout_reason))
    check = model.check
    if check is not None:
        rows += [
            Fact(
                label="Log-prob difference to plain",
                value=f"{number(check.log_prob)} nats",
                note=f"allowed: {number(check.tolerance)}",
            ),
            Fact(
                label="Gradient difference to plain",
                value=number(check.gradient),
                note=f"of the largest entry; allowed: {number(check.gradient_tolerance)}",
            ),
        ]
    if model.hash:
        rows.append(Fact(label="Model hash", value=model.hash))
    blocks: list[Block] = [
        Facts(
            title="Layout",
            rows=tuple(rows),
            note="Before training, the layout is compared with the plain one on this very model.",
        )
    ]
    if check is None:
        blocks.append(Prose(tone="empty", sentences=("This run recorded no check of its layout.",)))
    return blocks


def _reference(reference: ReferenceFacts) -> Facts:
    computed, cached = reference.computed or 0, reference.from_cache or 0
    hits = f"{share(cached / (computed + cached))} of rows" if computed + cached else ""
    start = (
        "0 but for rounding: policy and reference start equal"
        if reference.is_policy
        else "need not be 0: the reference is another model"
    )
    return Facts(
        title="Reference log-probs",
        half=True,
        rows=(
            Fact(label="From the cache", value=count(reference.from_cache), note=hits),
            Fact(label="Computed", value=count(reference.computed)),
            Fact(
                label="Largest log-ratio at the first step",
                value=f"{number(reference.first_step_max_log_ratio)} nats",
                note=start,
            ),
            Fact(label="Reference hash", value=reference.hash or ABSENT),
        ),
    )


def _sizes(record: RunRecord) -> Table:
    rows = [(name.replace("_", " ").capitalize(), size(n)) for name, n in record.sizes.items()]
    rows.append(("Together", size(sum(record.sizes.values()))))
    return Table(
        title="Predicted sizes in memory", columns=("Part", "Size"), rows=tuple(rows), half=True
    )


def _phases(record: RunRecord) -> Table:
    peaks = record.peak_memory
    rows = tuple(
        (name.capitalize(), duration(seconds), size(peaks[name]) if name in peaks else ABSENT)
        for name, seconds in record.phases.items()
    )
    return Table(
        title="Where the time went",
        columns=("Part", "Time", "Peak memory"),
        rows=rows,
        half=True,
    )


def _speed(record: RunRecord) -> tuple[Fact, ...]:
    """Medians over logged steps, so that slow first steps do not count for more."""
    steps = record.training
    timed = np.isfinite(steps.seconds) & (steps.seconds > 0)
    if not timed.any():
        return ()
    seconds = steps.seconds[timed]
    found = [Fact(label="Step", value=f"{number(float(np.median(seconds)))} s", note="median")]
    units = words_of(record).units.capitalize()
    for name, amounts in ((units, steps.pairs[timed]), ("Tokens", steps.tokens[timed])):
        if np.isfinite(amounts).any():
            rate = float(np.nanmedian(amounts / seconds))
            found.append(
                Fact(label=f"{name} per second", value=number(rate), note="median over steps")
            )
    tokens = steps.tokens[np.isfinite(steps.tokens)].sum()
    if tokens:
        found.append(
            Fact(
                label="Tokens in all logged steps",
                value=count(float(tokens)),
                note=plural(len(steps), "step"),
            )
        )
    return tuple(found)
