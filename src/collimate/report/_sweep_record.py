"""What frontier.json holds, as frozen records (docs/frontier.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.report._fields import Fields
from collimate.report._read import parse_object, text_of
from collimate.report._record import Interval

RECORD = "frontier.json"
SCHEMA_VERSIONS = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveFacts:
    """One objective. direction: "max" or "min"."""

    name: str
    direction: str
    unit: str
    meaning: str

    @property
    def title(self) -> str:
        """The title of an axis, and which way is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit}, {'more' if self.direction == 'max' else 'less'} is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFacts:
    """One run of a setting. values: of each objective."""

    seed: int | None
    folder: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFacts:
    """One setting: means over seeds and their intervals; None, or empty, where it is not compared."""

    name: str
    method: str
    error: str | None
    runs: tuple[SeedFacts, ...]
    mean: Mapping[str, float]
    interval: Mapping[str, Interval]
    on_front: bool
    frequency: float | None

    @property
    def compared(self) -> bool:
        """Whether it has a place beside the others."""
        return bool(self.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The hypervolume. reference: its point; measured: coordinates that are the worst values seen."""

    value: float
    interval: Interval | None
    reference: Mapping[str, float]
    measured: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCurve:
    """A line that is known beforehand: objective -> coordinates [point]."""

    name: str
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """A sweep, read; see docs/frontier.md."""

    folder: Path
    name: str
    status: str
    created: str
    seconds: float | None
    config: Mapping[str, object]
    versions: Mapping[str, str]
    machine: Mapping[str, object]
    objectives: tuple[ObjectiveFacts, ...]
    settings: tuple[SettingFacts, ...]
    volume: Volume | None
    curves: tuple[KnownCurve, ...] = field(default=())


def load_sweep(folder: Path) -> SweepRecord:
    """Read frontier.json of a sweep's folder.

    Errors: BadRun where it is missing, a link out of the folder, not JSON, of another schema_version,
    or has a field of the wrong type.
    """
    path = folder / RECORD
    if not path.is_file() or not is_inside(path, folder):
        raise BadRun(f"expected the folder of a sweep, but {folder} has no {RECORD}")
    fields = Fields(where=str(path), path="", values=parse_object(text_of(path), where=str(path)))
    if fields.integer("schema_version") not in SCHEMA_VERSIONS:
        fields.fail("schema_version", "1", fields.values.get("schema_version"))
    return SweepRecord(
        folder=folder,
        name=fields.text("name", folder.name),
        status=fields.text("status"),
        created=fields.text("created"),
        seconds=fields.number("seconds"),
        config=fields.mapping("config"),
        versions={key: str(value) for key, value in fields.mapping("versions").items()},
        machine=fields.mapping("machine"),
        objectives=fields.records("objectives", _objective),
        settings=fields.records("settings", _setting),
        volume=fields.record("hypervolume", _volume),
        curves=fields.records("curves", _curve),
    )


def _objective(fields: Fields) -> ObjectiveFacts:
    if fields.text("direction") not in ("max", "min"):
        fields.fail("direction", "max or min", fields.values.get("direction"))
    texts = {name: fields.text(name) for name in ("name", "direction", "unit", "meaning")}
    return ObjectiveFacts(**texts)


def _setting(fields: Fields) -> SettingFacts:
    inner = Fields(
        where=fields.where, path=f"{fields.path}interval.", values=fields.mapping("interval")
    )
    intervals = {name: inner.interval(name) for name in inner.values}
    return SettingFacts(
        name=fields.text("name"),
        method=fields.text("method"),
        error=fields.optional_text("error"),
        runs=fields.records("runs", _run),
        mean=fields.amounts("mean"),
        interval={name: value for name, value in intervals.items() if value is not None},
        on_front=fields.flag("on_front", default=False),
        frequency=fields.number("frequency"),
    )


def _run(fields: Fields) -> SeedFacts:
    return SeedFacts(
        seed=fields.integer("seed"), folder=fields.text("folder"), values=fields.amounts("values")
    )


def _volume(fields: Fields) -> Volume:
    value = fields.number("value")
    if value is None:
        fields.fail("value", "a number", None)
    return Volume(
        value=value,
        interval=fields.interval("interval"),
        reference=fields.amounts("reference"),
        measured=fields.texts("measured"),
    )


def _curve(fields: Fields) -> KnownCurve:
    inner = Fields(
        where=fields.where, path=f"{fields.path}values.", values=fields.mapping("values")
    )
    return KnownCurve(
        name=fields.text("name"),
        values={name: inner.numbers(name) or () for name in inner.values},
    )
