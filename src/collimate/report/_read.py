"""Reading a run folder: run.json and metrics.jsonl, also while the run is still writing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.report._fields import WAY_OUT, Fields, shown
from collimate.report._read_v1 import read_evaluation, read_run
from collimate.report._record import TRAINING_FIELDS, Evaluation, RunRecord, Training, columns

# One reader per schema_version, kept for ever: an old run folder must stay readable.
READERS: Mapping[
    int, Callable[[Path, Fields, Training, tuple[tuple[int, Evaluation], ...], int], RunRecord]
] = {1: read_run}


def load(run_folder: str | Path, *, metrics: bool = True) -> RunRecord:
    """Read a run folder, also one that is still being written.

    metrics: false leaves out metrics.jsonl, which may be long: no training lines, no evaluations
    but those of run.json.

    An incomplete last line of metrics.jsonl is left out and counted in `partial_lines`; parts of
    run.json that are absent or null become None, which the page shows as "not there yet".

    Errors: BadRun where the folder, run.json or (for a finished run) metrics.jsonl is missing, is a
    link out of the folder, is not UTF-8 or not JSON, has a field of the wrong type, or an unknown
    schema_version.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    >>> load(folder).status
    'running'
    """
    fields, lines, partial = read_files(run_folder, metrics=metrics)
    training, evaluations = _split(lines, where=Path(run_folder) / "metrics.jsonl")
    version = fields.integer("schema_version")
    assert version is not None  # read_files has seen it
    return READERS[version](Path(run_folder), fields, training, evaluations, partial)


Lines = list[tuple[int, Mapping[str, Any]]]


def read_files(run_folder: str | Path, *, metrics: bool = True) -> tuple[Fields, Lines, int]:
    """The fields of run.json, and of metrics.jsonl (line number, object) of each whole line.

    metrics: whether to read metrics.jsonl at all. Last, how many incomplete last lines were left out.
    Errors: BadRun, as in `load`.

    >>> read_files("nowhere")
    Traceback (most recent call last):
    collimate._checks.BadRun: expected a run folder, but nowhere is not a folder; check the path
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        hint = f"give its folder, {folder.parent}" if folder.is_file() else "check the path"
        raise BadRun(f"expected a run folder, but {folder} is not a folder; {hint}")
    path = folder / "run.json"
    if not path.is_file():
        raise BadRun(
            f"expected a run folder, but {folder} has no run.json; "
            "give a folder that `collimate train` wrote"
        )
    for file in (path, folder / "metrics.jsonl"):
        if not is_inside(file, folder):
            raise BadRun(
                f"{file} is a link out of the run folder, to {file.resolve()}: put the file itself there"
            )
    fields = Fields(where=str(path), path="", values=parse_object(text_of(path), where=str(path)))
    version = fields.integer("schema_version")
    if version is None or version not in READERS:
        known = ", ".join(map(str, READERS))
        raise BadRun(
            f"{path}: schema_version must be {known}, "
            f"got {shown(fields.values.get('schema_version'))}; "
            "a newer collimate may have written it: pip install -U collimate"
        )
    lines, partial = _metric_lines(folder / "metrics.jsonl", fields) if metrics else ([], 0)
    return fields, lines, partial


def text_of(path: Path) -> str:
    """The text of a file. Errors: BadRun unless it can be read as UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRun(f"{path}: must be UTF-8, byte {error.start} is not; {WAY_OUT}") from error
    except OSError as error:
        raise BadRun(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def parse_object(text: str, *, where: str) -> Mapping[str, Any]:
    """A JSON object. Errors: BadRun, naming `where`, for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{where}: must be JSON, but {error}; {WAY_OUT}") from error
    if not isinstance(value, dict):
        raise BadRun(
            f"{where}: must be a JSON object {{...}}, got {shown(cast('object', value))}; {WAY_OUT}"
        )
    return cast("dict[str, Any]", value)


def _metric_lines(path: Path, fields: Fields) -> tuple[Lines, int]:
    """(line number, object) of each whole line, and how many incomplete last lines there were."""
    if not path.is_file():
        if fields.text("status") == "finished" and fields.integer("steps"):
            raise BadRun(
                f"{path}: is missing, but run.json says that {fields.integer('steps')} steps "
                "were finished; restore it, or run the training again"
            )
        return [], 0
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRun(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    *whole, last = content.split(b"\n")
    lines = [(n, line) for n, line in enumerate(whole, start=1) if line.strip()]
    parsed = [
        (n, parse_object(_line_text(line, path, n), where=f"{path} line {n}")) for n, line in lines
    ]
    if not last.strip():
        return parsed, 0
    # What follows the last newline may be cut anywhere, also inside a character.
    try:
        final = json.loads(last.decode("utf-8"))
    except ValueError:
        return parsed, 1
    if not isinstance(final, dict):  # the first characters of a line can be JSON of another kind
        return parsed, 1
    return [*parsed, (len(whole) + 1, cast("dict[str, Any]", final))], 0


def _line_text(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRun(
            f"{path} line {number}: must be UTF-8, byte {error.start} is not; {WAY_OUT}"
        ) from error


def _split(
    lines: list[tuple[int, Mapping[str, Any]]], *, where: Path
) -> tuple[Training, tuple[tuple[int, Evaluation], ...]]:
    """Training lines as columns; lines with a key `evaluation` as (step, figures)."""
    steps: list[Mapping[str, float]] = []
    evaluations: list[tuple[int, Evaluation]] = []
    for number, values in lines:
        fields = Fields(where=f"{where} line {number}", path="", values=values)
        step = fields.integer("step")
        if step is None:
            fields.fail("step", "a whole number", None)
        if "evaluation" not in values:
            steps.append(_numbers(fields))
            continue
        figures = fields.record("evaluation", read_evaluation)
        if figures is not None:  # null: a run that has no held-out data
            evaluations.append((step, figures))
    return columns(steps), tuple(evaluations)


def _numbers(fields: Fields) -> Mapping[str, float]:
    """The known fields of a training line as floats; absent and null ones are left out."""
    found: dict[str, float] = {}
    for name in TRAINING_FIELDS:
        value = fields.values.get(name)
        if type(value) is not float:  # nearly all are, and a long run has a million of them
            value = fields.number(name)
        if value is not None:
            found[name] = value
    return found
