"""A model card in the form of the Hugging Face hub, drawn from the run record alone."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from collimate._bibliography import bibliography, source_keys
from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.report._comparison.runs import SETTINGS_WITHOUT_EFFECT
from collimate.report._exports.limits import limits
from collimate.report._exports.markdown import code, text
from collimate.report._format import ABSENT, accuracy, count, decimal, duration, share, signed
from collimate.report._read import load
from collimate.report._record import DataFacts, Evaluation, RunRecord
from collimate.report._save import save
from collimate.report._summary import AXES
from collimate.report._verdict import verdict
from collimate.report._words import words_of

PLACES = frozenset({"model", "tokenizer", "reference", "data", "evaluation", "method", "deepspeed"})
"""Settings that the card says elsewhere, or that name places on somebody's disk."""


def write_card(run_folder: str | Path, path: str | Path | None = None) -> Path:
    """Write a run's model card and return its path; by default `model/README.md` in the run folder.

    Errors: BadRun where the folder cannot be read (see `load`), has no model to go with, or the card
    cannot be written.

    >>> write_card("nowhere")
    Traceback (most recent call last):
    collimate._checks.BadRun: expected a run folder, but nowhere is not a folder; check the path
    """
    card = model_card(load(run_folder))
    target = Path(run_folder) / "model" / "README.md" if path is None else Path(path)
    if path is None and not target.parent.is_dir():
        raise BadRun(f"{run_folder} has no model folder for the card: name a file with --out")
    if path is None and not is_inside(target.parent, Path(run_folder)):
        raise BadRun(f"{target.parent} is a link out of the run folder: name a file with --out")
    save(target, card, what="the card", example="README.md")
    return target


def model_card(record: RunRecord) -> str:
    r"""The card as text: YAML front matter, then Markdown, in which no text of the run is markup.

    Folders of models and data are left out, their names stay: a card is published.

    >>> card = model_card(RunRecord(folder=Path("one"), name="one *two*"))
    >>> print(card.partition("# ")[2].partition("\n")[0])
    one \*two\*
    """
    parts = (
        _front_matter(record),
        f"# {text(record.name)}",
        _opening(record),
        *_method(record),
        *_data(record),
        *_figures(record),
        *_settings(record),
        "## Limits",
        _bullets([text(sentence) for sentence in limits(record)]),
        *_citation(record),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(record: RunRecord) -> str:
    """Only plain words enter: a name that is none is left to the text below."""
    lines = [
        f"library_name: {'peft' if _is_adapter(record) else 'transformers'}",
        "pipeline_tag: text-generation",
    ]
    if (base := _hub_name(record.model.path if record.model else "")) is not None:
        lines.append(f"base_model: {base}")
    files = [facts.file for facts in (record.train_data, record.evaluation_data) if facts]
    names = dict.fromkeys(name for file in files if (name := _hub_name(file)) is not None)
    lines += ["datasets:", *(f"- {name}" for name in names)] if names else []
    method = record.method.name if record.method is not None else ""
    tags = [
        "collimate",
        "alignment",
        *([method] if re.fullmatch(r"[a-z]\w*", method, re.A) else []),
    ]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _hub_name(source: str) -> str | None:
    """`owner/name` of `hub:owner/name[:split]`; None for what is no name on the hub."""
    found = re.fullmatch(r"hub:([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(:[\w.-]+)?", source, re.A)
    return None if found is None else found[1]


def _is_adapter(record: RunRecord) -> bool:
    model = record.model
    partly = model is not None and (model.trainable or 0) < (model.parameters or 0)
    return partly or record.config.get("lora_rank") is not None


def _name(source: str) -> str:
    """A hub name whole, of a path its last part."""
    if source.startswith("hub:"):
        return source.removeprefix("hub:")
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1]


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _opening(record: RunRecord) -> str:
    model, method = record.model, record.method
    what = "An adapter of" if _is_adapter(record) else "A model trained from"
    base = code(_name(model.path)) if model is not None and model.path else "an unnamed model"
    by = f" with the method {code(method.name)}" if method is not None else ""
    words = f"{what} {base}{by}, by Collimate {text(record.versions.get('collimate', ABSENT))}."
    return "\n".join([words, *(text(sentence) for sentence in verdict(record))])


def _method(record: RunRecord) -> tuple[str, ...]:
    method = record.method
    if method is None:
        return ("## Method", "The run recorded no method.")
    choices = [
        f"{title}: {code(getattr(method, name))} ({question})" for name, title, question in AXES
    ]
    found = ["## Method", "Five choices make the method:", _bullets(choices)]
    if method.formulas:
        unit = words_of(record).unit
        written = " + ".join(map(code, method.formulas))
        found.append(
            f"Loss of one {unit}: {written}. What the symbols mean: {code('collimate explain')}."
        )
    if method.composite and not method.formulas:
        found.append(
            "The loss is a function of its author's own; the choices may not say all of it."
        )
    if method.parameters:
        given = json.dumps(method.parameters, ensure_ascii=False, default=str)
        found.append(f"Parameters: {code(given)}.")
    if method.source:
        found.append(f"Source: {code(method.source)}; see the citations below.")
    return tuple(found)


def _data(record: RunRecord) -> tuple[str, ...]:
    found = ["## Data"]
    for title, facts in (("Training", record.train_data), ("Held-out", record.evaluation_data)):
        if facts is None:
            found.append(f"{title}: none recorded.")
            continue
        found += [f"{title}: {code(_name(facts.file))}", _bullets(_facts(facts, record))]
    return tuple(found)


def _facts(facts: DataFacts, record: RunRecord) -> list[str]:
    words = words_of(record)
    lengths = (
        ("prompts", facts.prompt_tokens),
        (f"{words.better} answers", facts.chosen_tokens),
        (f"{words.worse} answers", facts.rejected_tokens),
    )
    tokens = "; ".join(
        f"{name} {decimal(x.median, 0)} and {count(x.max)}" for name, x in lengths if x is not None
    )
    found = [
        f"{count(facts.rows)} rows, {count(facts.used)} used, "
        f"{count(sum(facts.skipped.values()))} left out",
        f"read as {code(facts.format)}",
        f"hash of the token ids {code(facts.hash)}",
    ]
    if tokens:
        found.append(f"length in tokens, median and longest: {tokens}")
    if facts.chosen_longer is not None:
        found.append(f"{words.better} answer the longer one: {share(facts.chosen_longer)}")
    return [*found, *(text(note) for note in facts.notes)]


def _figures(record: RunRecord) -> tuple[str, ...]:
    before, after, words = record.before, record.after, words_of(record)
    measured = [(name, e) for name, e in (("before", before), ("after", after)) if e is not None]
    if not measured:
        return ("## Held-out figures", "There are none: no held-out data were given.")
    columns = [[heading, *_column(e)] for heading, e in measured]
    labels = ["", "reward accuracy", "likelihood accuracy", "loss"]
    labels += [f"log-ratio, {words.better}", f"log-ratio, {words.worse}", words.units]
    lines = [f"| {' | '.join(cells)} |" for cells in zip(labels, *columns, strict=True)]
    lines.insert(1, "|" + " --- |" * (len(columns) + 1))
    note = (
        "In brackets 95 % bootstrap intervals by prompt. Reward accuracy: "
        f"{words.reward}. Likelihood accuracy: {words.likelihood}. Log-ratios to the reference in "
        "nats, means over given answers, which is not a KL."
    )
    return "## Held-out figures", "\n".join(lines), note


def _column(e: Evaluation) -> list[str]:
    return [
        accuracy(e.reward_accuracy, e.reward_accuracy_interval),
        accuracy(e.likelihood_accuracy, e.likelihood_accuracy_interval),
        decimal(e.loss, 4),
        signed(e.log_ratio_chosen, 2),
        signed(e.log_ratio_rejected, 2),
        count(e.rows),
    ]


def _settings(record: RunRecord) -> tuple[str, ...]:
    kept = {
        name: value
        for name, value in record.config.items()
        if value is not None and name not in PLACES and name not in SETTINGS_WITHOUT_EFFECT
    }
    kept |= {} if record.seed is None else {"seed": record.seed}
    given = [
        f"{code(str(name))}: {code(json.dumps(value, ensure_ascii=False, default=str))}"
        for name, value in kept.items()
    ]
    versions = ", ".join(f"{code(name)} {code(value)}" for name, value in record.versions.items())
    return (
        "## Training",
        _bullets(given),
        f"{count(record.steps)} steps in {duration(record.seconds)} on {_hardware(record)}; "
        f"{_trained(record)}.",
        f"Versions: {versions}." if versions else "",
    )


def _trained(record: RunRecord) -> str:
    model = record.model
    if model is None or not model.parameters:
        return "the number of parameters was not recorded"
    if model.trainable == model.parameters:
        return f"all {count(model.parameters)} parameters were trained"
    return f"{count(model.trainable)} of {count(model.parameters)} parameters were trained"


def _hardware(record: RunRecord) -> str:
    """In general words: nothing by which one machine could be told from its like."""
    machine = record.machine
    device = machine.get("device")
    kind = "a CPU" if device == "cpu" else code(str(device)) if device else "an unnamed device"
    said = [
        f"{text(str(machine[name]))} {name}" for name in ("processes", "threads") if name in machine
    ]
    return f"{kind} ({', '.join(said)})" if said else kind


def _citation(record: RunRecord) -> tuple[str, ...]:
    """The entries of our own bibliography whose keys the record names; others are left out."""
    method = record.method
    if method is None:
        return ()
    keys = dict.fromkeys([*source_keys(method.source), *method.sources])
    entries = bibliography()
    found = [entries[key] for key in keys if key in entries]
    if not found:
        return ()
    return (
        "## Citation",
        "The method and its parts:",
        "```bibtex\n" + "\n\n".join(found) + "\n```",
    )
