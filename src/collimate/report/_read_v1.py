"""The reader of schema_version 1 (docs/run-folder.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar, get_type_hints

from collimate.report._fields import Fields
from collimate.report._record import (
    Alarm,
    Curve,
    DataFacts,
    Evaluation,
    Frontier,
    Interval,
    LayoutCheck,
    Lengths,
    MethodFacts,
    ModelFacts,
    Point,
    ReferenceFacts,
    RunRecord,
    Sample,
    Training,
)

T = TypeVar("T")
STATUSES = ("running", "finished", "stopped", "failed")


def read_run(
    folder: Path,
    fields: Fields,
    training: Training,
    evaluations: tuple[tuple[int, Evaluation], ...],
    partial_lines: int,
) -> RunRecord:
    """A run record from the fields of run.json; errors: BadRun, naming the field."""
    status = fields.text("status")
    if status not in STATUSES:
        fields.fail("status", f"one of {', '.join(STATUSES)}", fields.values.get("status"))
    data = Fields(where=fields.where, path="data.", values=fields.mapping("data"))
    evaluation = Fields(where=fields.where, path="evaluation.", values=fields.mapping("evaluation"))
    return RunRecord(
        folder=folder,
        name=fields.text("name", folder.name),
        status=status,
        error=fields.optional_text("error"),
        created=fields.text("created"),
        seconds=fields.number("seconds"),
        steps=fields.integer("steps"),
        seed=fields.integer("seed"),
        config=fields.mapping("config"),
        versions={key: str(value) for key, value in fields.mapping("versions").items()},
        machine=fields.mapping("machine"),
        method=fields.record("method", reader(MethodFacts)),
        model=fields.record("model", reader(ModelFacts)),
        sizes=fields.counts("sizes"),
        phases=fields.amounts("phases"),
        peak_memory=fields.counts("peak_memory"),
        train_data=data.record("train", reader(DataFacts)),
        evaluation_data=data.record("evaluation", reader(DataFacts)),
        reference=fields.record("reference", reader(ReferenceFacts)),
        before=evaluation.record("before", read_evaluation),
        after=evaluation.record("after", read_evaluation),
        alarms=fields.records("alarms", reader(Alarm)),
        samples=fields.records("samples", reader(Sample)),
        frontier=fields.record("frontier", reader(Frontier)),
        training=training,
        evaluations=evaluations,
        partial_lines=partial_lines,
    )


def reader(record: type[T]) -> Callable[[Fields], T]:
    """A reader of `record`: each field under its own name, as its annotation says."""
    kinds = _hints(record)

    def read(fields: Fields) -> T:
        return record(**{name: BY_ANNOTATION[kind](fields, name) for name, kind in kinds.items()})

    return read


@cache
def _hints(record: type[object]) -> Mapping[str, object]:
    """Kept, because evaluating annotations takes longer than reading a run."""
    return get_type_hints(record)


def _required(fields: Fields, name: str) -> float:
    value = fields.number(name)
    if value is None:
        fields.fail(name, "a number", None)
    return value


def _curve(fields: Fields) -> Curve:
    kl, reward = fields.numbers("kl") or (), fields.numbers("reward") or ()
    if len(kl) != len(reward):
        fields.fail("reward", f"as long as kl ({len(kl)} numbers)", list(reward))
    return Curve(name=fields.text("name"), kl=kl, reward=reward)


BY_ANNOTATION: Mapping[object, Callable[[Fields, str], object]] = {
    str: Fields.text,
    str | None: Fields.optional_text,
    bool: lambda fields, name: fields.flag(name, default=True),  # which old runs lack
    int: lambda fields, name: fields.integer(name) or 0,
    int | None: Fields.integer,
    float: _required,
    float | None: Fields.number,
    Interval | None: Fields.interval,
    Mapping[str, int]: Fields.counts,
    Mapping[str, object]: Fields.mapping,
    tuple[str, ...]: Fields.texts,
    tuple[Curve, ...]: lambda fields, name: fields.records(name, _curve),
    tuple[Point, ...]: lambda fields, name: fields.records(name, reader(Point)),
    LayoutCheck | None: lambda fields, name: fields.record(name, reader(LayoutCheck)),
    Lengths | None: lambda fields, name: fields.record(name, reader(Lengths)),
}

read_evaluation = reader(Evaluation)
