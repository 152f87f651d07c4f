"""The runs of a sweep: each an ordinary run folder, none made twice."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from collimate._checks import (
    BadComposition,
    BadConfig,
    BadData,
    BadRun,
    CollimateError,
    OutOfMemory,
    TrainingFailed,
)
from collimate._files import write_atomically
from collimate.compose import Objective
from collimate.engine.load import name_of
from collimate.engine.run_folder import RunFolder
from collimate.engine.runtime import explaining_memory
from collimate.jobs._comparison import Tried, compared
from collimate.jobs._console import Bar, Console
from collimate.jobs._measured import Measuring
from collimate.jobs._sweep_plan import SweepPlan
from collimate.jobs._swept import Setting
from collimate.jobs.record import describe_objective
from collimate.jobs.run import Run
from collimate.jobs.settings import TrainSettings
from collimate.jobs.train import method_of, train
from collimate.report import SETTINGS_WITHOUT_EFFECT
from collimate.tradeoffs import Front

SCHEMA_VERSION = 1
RECORD = "frontier.json"

_OF_A_SETTING = (BadComposition, BadConfig, BadData, OutOfMemory, TrainingFailed)
"""Errors that may be one setting's alone: they are recorded, and the others go on."""
_OF_NO_NUMBER = SETTINGS_WITHOUT_EFFECT
"""Settings of runs that may be others when a sweep goes on."""


class Stopped(Exception):
    """The user asked a run to stop; it goes on with `resume`."""


@dataclass(slots=True, kw_only=True, eq=False)
class Sweeping:
    """A sweep under way in `folder`.

    inputs: the paths and objects that every run is given. settings, options: those of every run, as
    given and checked. tried: by name of the setting. errors: in the order they came.

    Errors: BadRun for a folder that is not new, or with `resume` holds no sweep or another one.
    """

    folder: Path
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    options: TrainSettings
    plan: SweepPlan
    console: Console
    bar: Bar = field(default_factory=lambda: Bar(None, None))
    tried: dict[str, Tried] = field(default_factory=dict)
    errors: list[CollimateError] = field(default_factory=list)
    alike: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # fact -> hash, the run's folder
    created: str = ""
    measuring: Measuring = field(init=False)

    def __post_init__(self) -> None:
        self.created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.options.resume:
            self._require_same()
        else:
            _require_new(self.folder)
        self.measuring = Measuring(
            inputs=self.inputs,
            options=self.options,
            kl_samples=self.plan.kl_samples,
            measure=self.plan.measure,
        )

    def attempt(self, method: str, beta: float | None) -> Sequence[float] | None:
        """Train the setting with every seed; the mean of each objective, None if it failed.

        Errors: Stopped; a CollimateError that no other setting would escape.
        """
        setting = Setting(method=method, beta=beta)
        if setting.name not in self.tried:
            one = self.tried[setting.name] = Tried(setting=setting)
            try:
                for seed in self.plan.seeds:
                    one.runs.append(self._measured_run(setting, seed))
            except _OF_A_SETTING as error:
                self.errors.append(error)
                one.error = str(error)
                self.console.say(f"{setting.name} failed: {error}")
            self.write("running")
        one = self.tried[setting.name]
        if one.error is not None:
            return None
        columns = zip(*one.values(self.plan.goals), strict=True)
        return [sum(column) / len(column) for column in columns]

    def _measured_run(self, setting: Setting, seed: int) -> dict[str, Any]:
        """A run's part of the record, of a finished run or one that is trained now."""
        name = setting.folder(seed=seed)
        folder = RunFolder(self.folder / name)
        begun = folder.read_record() if folder.record_path.exists() else None
        run: Run | None = None
        if begun is not None and begun["status"] == "finished":
            self._require_own(begun, setting, name)
        else:
            run = self._train(setting, seed, folder.path, resume=begun is not None)
        record = folder.read_record()
        self._require_alike(record, setting, name)
        with explaining_memory():
            measured = {**record, "measured": self.measuring.of(folder.path, record, run)}
        values = {goal.name: goal.of(measured) for goal in self.plan.goals}
        reference = record["reference"]
        told = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        self.console.say(f"{setting.name}, seed {seed}: {told}")
        self.bar.advance(1)
        return {
            "seed": seed,
            "folder": name,
            "values": values,
            "seconds": record["seconds"],
            "reference_computed": None if reference is None else reference["computed"],
        }

    def _train(self, setting: Setting, seed: int, folder: Path, *, resume: bool) -> Run:
        inputs = dict(self.inputs)
        if isinstance(inputs["model"], nn.Module):
            inputs["model"] = copy.deepcopy(inputs["model"])  # it would be trained in place
        given: dict[str, Any] = {
            **self.settings,
            "seed": seed,
            "resume": resume,
            "cache": self.options.cache or self.folder / "cache",
            "progress": False,
            "report": False,
        }
        method = self.plan.makers[setting.method](setting.beta)
        run = train(**inputs, out=folder, method=method, **given)
        if run.record["status"] == "stopped":
            raise Stopped
        return run

    def _require_own(self, record: Mapping[str, Any], setting: Setting, name: str) -> None:
        """Errors: BadRun where a finished run is not the one that would be trained now."""
        wanted = {k: v for k, v in self.options.to_json().items() if k not in _OF_NO_NUMBER}
        method = self.plan.makers[setting.method](setting.beta)
        now = _plain({**wanted, "method": describe_objective(Objective.of(method_of(method)))})
        was = {**record["config"], "method": record["method"]}
        changed = [key for key, value in now.items() if was.get(key) != value]
        if changed:
            raise BadRun(
                f"{self.folder / name} was trained otherwise ({', '.join(changed)}): resume with what "
                "it began with, or start a new sweep"
            )

    def _require_alike(self, record: Mapping[str, Any], setting: Setting, name: str) -> None:
        """Errors: BadRun where a run has another model, reference or data than the first of its kind."""
        facts = {f"{part} data": found for part, found in record["data"].items()}
        facts |= {"model": record["model"], f"reference of {setting.method}": record["reference"]}
        for what, found in facts.items():
            if found is None:
                continue
            was, where = self.alike.setdefault(what, (found["hash"], name))
            if was != found["hash"]:
                raise BadRun(
                    f"{self.folder / name} has another {what} than {self.folder / where}: the files have "
                    "changed since; restore them, or start a new sweep"
                )

    def write(self, status: str) -> tuple[dict[str, Any], Front | None]:
        """frontier.json as of now, once a run has begun; returns the record and the front."""
        tried = list(self.tried.values())
        found, front = compared(
            tried,
            self.plan.goals,
            self.plan.seeds,
            self.plan.worst,
            draws=100 if status == "running" else 1000,  # it is written after each setting
        )
        runs = [run for one in tried for run in one.runs]
        record = {
            "schema_version": SCHEMA_VERSION,
            "kind": "frontier",
            "name": self.folder.name,
            "status": status,
            "created": self.created,
            "seconds": round(sum(run["seconds"] for run in runs), 3),
            "config": {**self._fixed(), **self.plan.to_json()},
            **self._where(runs),
            "objectives": [goal.to_json() for goal in self.plan.goals],
            **found,
            "curves": self._curves(),
        }
        if (self.folder / "runs").is_dir():
            self._write(record)
        return record, front

    def _write(self, record: Mapping[str, Any]) -> None:
        path = self.folder / RECORD
        try:
            write_atomically(path, json.dumps(record, indent=1).encode())
        except OSError as error:
            raise BadRun(
                f"cannot write {path}: {error.strerror}; free some space, and --resume"
            ) from error

    def _where(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Versions and machine, by the first run."""
        if not runs:
            return {"versions": {}, "machine": {}}
        first = RunFolder(self.folder / runs[0]["folder"]).read_record()
        return {
            "versions": {**first["versions"], "optuna": version("optuna")},
            "machine": first["machine"],
        }

    def _curves(self) -> list[dict[str, Any]]:
        exact = self.plan.exact
        if exact is None:
            return []
        points = {"kl": exact.divergence.tolist(), "reward": exact.reward.tolist()}
        return [{"name": "exact frontier", "values": points}]

    def _fixed(self) -> dict[str, Any]:
        """What must be the same for a sweep to go on."""
        names = {name: None if x is None else name_of(x) for name, x in self.inputs.items()}
        kept = {k: v for k, v in self.options.to_json().items() if k not in _OF_NO_NUMBER}
        return {**names, "settings": kept}

    def _require_same(self) -> None:
        path = self.folder / RECORD
        if not path.exists():
            if (self.folder / "runs").is_dir():  # killed before its first setting was done
                return
            raise BadRun(
                f"{self.folder} holds no sweep (no {RECORD}): check the folder, or begin without --resume"
            )
        before = _read(path)
        now = _plain(self._fixed())
        for name, value in now.items():
            was = before["config"].get(name)
            if was != value:
                changed = (
                    [k for k in value if value[k] != was.get(k)] if name == "settings" else [name]
                )
                raise BadRun(
                    f"{self.folder} is another sweep's: {', '.join(changed)} differ from what it began "
                    "with; resume with its own, or start a new folder"
                )
        self.created = str(before.get("created"))


def _plain(value: Any) -> Any:
    """As it comes back from a file: tuples are lists there."""
    return json.loads(json.dumps(value))


def _require_new(folder: Path) -> None:
    if (folder / RECORD).exists() or (folder / "runs").is_dir():
        raise BadRun(
            f"{folder} already holds a sweep: go on with --resume (resume=True), or choose another folder"
        )
    RunFolder(folder).require_new()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRun(
            f"{path} cannot be read ({error}): restore it, or start a new sweep"
        ) from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise BadRun(
            f"{path} is no record of schema_version {SCHEMA_VERSION}: use the version of "
            "collimate that wrote it"
        )
    config = record.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("settings"), dict):
        raise BadRun(f"{path} lacks its config: it was damaged; restore it, or start a new sweep")
    return record
