"""metrics.jsonl as one typed table, for data frames and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, Literal

from collimate._checks import BadConfig, BadRun, require_extra
from collimate.report._fields import Fields
from collimate.report._read import read_files
from collimate.report._record import TRAINING_FIELDS, Evaluation
from collimate.report._save import save

Kind = Literal["whole", "number", "text"]
Column = Sequence[int | float | str | None]

_WHOLE = frozenset(
    {"step", "pairs", "tokens", "skipped_steps", "linear_continuation", "evaluation_rows"}
)
_TEXT = frozenset({"kind", "skipped", "rows"})
_LARGEST = 2**63 - 1


def _evaluation_columns() -> list[str]:
    names: list[str] = []
    for field in fields_of(Evaluation):
        interval = field.name.endswith("_interval")
        stem = f"evaluation_{field.name.removesuffix('_interval')}"
        names += [f"{stem}_low", f"{stem}_high"] if interval else [stem]
    return names


COLUMNS = ("kind", *TRAINING_FIELDS, "skipped", "rows", *_evaluation_columns())
"""The columns that every table has, whatever the run logged, so that tables of runs fit together."""


def metrics_table(run_folder: str | Path) -> Mapping[str, Column]:
    """The lines of metrics.jsonl as columns of one length, one row per line, None where absent.

    `kind` is "training" or "evaluation"; figures of the latter are in columns `evaluation_*`, an
    interval in two, `_low` and `_high`. The evaluations before and after training, which are in
    run.json, are the first and the last row. Then come columns of the method's own, in the order of
    their appearance. Units: docs/run-folder.md.

    Errors: BadRun where the folder cannot be read (see `load`), or a field has another type than its
    column.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    >>> _ = (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.69, "beta": 0.1}')
    >>> table = metrics_table(folder)
    >>> [table[name] for name in ("kind", "step", "loss", "beta")]
    [['training'], [1], [0.69], [0.1]]
    """
    run, lines, _ = read_files(run_folder)
    path = Path(run_folder) / "metrics.jsonl"
    rows = [
        _row(values, where=f"{path} line {number}")
        for number, values in [*_before(run), *lines, *_after(run, lines)]
    ]
    names = list(dict.fromkeys([*COLUMNS, *(name for row, _ in rows for name in row)]))
    own: dict[str, Kind] = {
        name: _own_kind([row.get(name) for row, _ in rows]) for name in names[len(COLUMNS) :]
    }
    return {
        name: [_cell(row, name, own.get(name) or kind_of(name), where) for row, where in rows]
        for name in names
    }


def write_metrics(run_folder: str | Path, path: str | Path) -> Path:
    """Write `metrics_table` to a .csv or .parquet file, and return its path.

    In CSV an absent value is empty and one that is not finite is nan, inf or -inf; numbers are
    written with all their digits.

    Errors: BadConfig for another ending; BadRun as in `metrics_table`, or where the file cannot be
    written; MissingExtra without pyarrow, for Parquet.

    >>> write_metrics("run", "metrics.xlsx")
    Traceback (most recent call last):
    collimate._checks.BadConfig: the metrics must be a .csv or a .parquet file, got metrics.xlsx
    """
    target = Path(path)
    writers = {".csv": _csv, ".parquet": _parquet}
    if target.suffix.lower() not in writers:
        raise BadConfig(f"the metrics must be a .csv or a .parquet file, got {target}")
    if target.suffix.lower() == ".parquet":
        require_extra("pyarrow", "train")
    content = writers[target.suffix.lower()](metrics_table(run_folder))
    save(target, content, what="the metrics", example="metrics.csv")
    return target


def kind_of(name: str) -> Kind:
    """The type of one of `COLUMNS`.

    >>> kind_of("step"), kind_of("loss"), kind_of("kind")
    ('whole', 'number', 'text')
    """
    return "whole" if name in _WHOLE else "text" if name in _TEXT else "number"


def _before(run: Fields) -> list[tuple[int, Mapping[str, Any]]]:
    found = run.mapping("evaluation").get("before")
    return [] if found is None else [(0, {"step": 0, "evaluation": found})]


def _after(
    run: Fields, lines: Sequence[tuple[int, Mapping[str, Any]]]
) -> list[tuple[int, Mapping[str, Any]]]:
    found = run.mapping("evaluation").get("after")
    number = lines[-1][0] + 1 if lines else 1
    return [] if found is None else [(number, {"step": run.integer("steps"), "evaluation": found})]


def _row(values: Mapping[str, Any], *, where: str) -> tuple[dict[str, Any], str]:
    """One line, flat."""
    if "evaluation" not in values:
        return {"kind": "training", **{k: v for k, v in values.items() if k != "kind"}}, where
    row: dict[str, Any] = {"kind": "evaluation", "step": values.get("step")}
    figures = Fields(where=where, path="", values=values).mapping("evaluation")
    inner = Fields(where=where, path="evaluation.", values=figures)
    for name in figures:
        stem = f"evaluation_{name.removesuffix('_interval')}"
        if name.endswith("_interval"):
            row[f"{stem}_low"], row[f"{stem}_high"] = inner.interval(name) or (None, None)
        else:
            row[stem] = figures[name]
    return row, where


def _own_kind(values: Sequence[Any]) -> Kind:
    """The type of a column that only some methods have: numbers if all are, else text."""
    known = [value for value in values if value is not None]
    return "number" if all(isinstance(value, int | float) for value in known) else "text"


def _cell(row: Mapping[str, Any], name: str, kind: Kind, where: str) -> int | float | str | None:
    fields = Fields(where=where, path="", values=row)
    if kind == "whole":
        value = fields.integer(name)
        if value is not None and abs(value) > _LARGEST:
            fields.fail(name, "a whole number of at most 64 bits", value)
        return value
    value = row.get(name)
    if kind == "number":
        return float(value) if isinstance(value, bool) else fields.number(name)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _csv(table: Mapping[str, Column]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode("utf-8", errors="replace")


def _parquet(table: Mapping[str, Column]) -> bytes:
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
    from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

    types = {"whole": pa.int64(), "number": pa.float64(), "text": pa.string()}

    def array(name: str, values: Column) -> Any:
        kind = kind_of(name)
        if name not in COLUMNS and any(isinstance(value, str) for value in values):
            kind = "text"
        return pa.array(_storable(values), types[kind])

    columns = {name: array(name, values) for name, values in table.items()}
    found = io.BytesIO()
    try:
        parquet.write_table(pa.table(columns), found)
    except pa.ArrowException as error:
        raise BadRun(f"the metrics cannot be kept as Parquet ({error}); write .csv") from error
    return found.getvalue()


def _storable(values: Column) -> list[int | float | str | None]:
    """Lone surrogates, which JSON can hold and UTF-8 cannot, replaced."""
    return [
        value.encode("utf-8", errors="replace").decode("utf-8") if isinstance(value, str) else value
        for value in values
    ]
