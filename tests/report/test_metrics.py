"""metrics.jsonl as a table: every number of every line, typed, in both formats."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from collimate import report
from collimate._checks import BadConfig, BadRun
from collimate.report._exports.metrics import COLUMNS
from tests.report.example_run import evaluation, make_old_run, make_run, run_fields

SKIPPED = {
    "step": 2,
    "loss": None,
    "gradient_norm": float("nan"),
    "learning_rate": float("inf"),
    "skipped_steps": 1,
    "skipped": 'loss nan, gradient "norm" nan',
    "rows": [3, 5],
}
LINES: list[dict[str, Any]] = [
    {"step": 1, "loss": 0.6931471805599453, "pairs": 16, "tokens": 2**53 + 1, "beta": 0.1},
    SKIPPED,
    {"step": 2, "evaluation": evaluation(0.55, 0.6, -1.0, -2.0)},
    {"step": 3, "loss": 1e-300, "reward_mask_zero": 0.25},
]


def written_lines(folder: Path) -> list[dict[str, Any]]:
    """What a table must hold, row by row, made from the files without the code under test."""
    run = json.loads((folder / "run.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    before, after = run["evaluation"]["before"], run["evaluation"]["after"]
    return [
        {"step": 0, "evaluation": before},
        *lines,
        {"step": run["steps"], "evaluation": after},
    ]


def expected(line: dict[str, Any], column: str) -> Any:
    if column == "kind":
        return "evaluation" if "evaluation" in line else "training"
    if not column.startswith("evaluation_"):
        return line.get(column)
    name = column.removeprefix("evaluation_")
    figures = line.get("evaluation", {})
    for place, end in enumerate(("_low", "_high")):
        if name.endswith(end):
            return figures.get(f"{name.removesuffix(end)}_interval", [None, None])[place]
    return figures.get(name)


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(found, float) and math.isnan(found)
    if isinstance(wanted, list):
        return json.loads(found) == wanted
    return type(found) is type(wanted) and found == wanted if wanted is not None else found is None


def test_the_table_holds_every_value_of_every_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path, metrics=LINES)
    table, lines = report.metrics_table(folder), written_lines(folder)
    assert tuple(table) == (*COLUMNS, "beta", "reward_mask_zero")
    for name, column in table.items():
        wanted = [expected(line, name) for line in lines]
        assert all(map(same, column, wanted)), (name, column, wanted)
    names = {key for line in LINES for key in line if key != "evaluation"}
    assert names <= set(table)


def test_parquet_is_typed_and_comes_back_the_same(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", metrics=LINES)
    path = report.write_metrics(folder, tmp_path / "metrics.parquet")
    found, table = parquet.read_table(path), report.metrics_table(folder)
    types = {field.name: field.type for field in found.schema}
    assert types["kind"] == types["skipped"] == types["rows"] == pa.string()
    assert types["step"] == types["tokens"] == types["evaluation_rows"] == pa.int64()
    rest = set(types) - {"kind", "skipped", "rows"}
    assert {str(types[name]) for name in rest} == {"int64", "double"}
    for name, column in table.items():
        assert all(map(same, found[name].to_pylist(), column)), name


def test_csv_comes_back_the_same(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", metrics=LINES)
    path = report.write_metrics(folder, tmp_path / "metrics.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = report.metrics_table(folder)
    assert len(rows) == 6
    for name, column in table.items():
        for row, value in zip(rows, column, strict=True):
            read = row[name] if row[name] != "" else None
            if value is None or isinstance(value, str):
                assert read == value
            else:
                assert read is not None
                assert same(type(value)(read), value), name


def test_tables_of_different_runs_begin_with_the_same_columns(tmp_path: Path) -> None:
    one = report.metrics_table(make_run(tmp_path / "one", metrics=[{"step": 1, "loss": 0.5}]))
    other = report.metrics_table(make_run(tmp_path / "two", metrics=LINES))
    assert tuple(one) == COLUMNS == tuple(other)[: len(COLUMNS)]


def test_a_run_that_has_logged_nothing_is_a_table_of_no_rows(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    assert set(map(len, report.metrics_table(tmp_path).values())) == {0}
    assert parquet.read_table(report.write_metrics(tmp_path, tmp_path / "m.parquet")).num_rows == 0


def test_a_run_of_the_older_schema_has_a_table(tmp_path: Path) -> None:
    table = report.metrics_table(make_old_run(tmp_path))
    assert len(table["step"]) == 62


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"step": 1, "loss": "low"}, r"metrics\.jsonl line 1: field 'loss' must be a number"),
        ({"step": 1.5}, "field 'step' must be a whole number"),
        ({"step": 1, "tokens": 2**63}, "field 'tokens' must be a whole number of at most 64 bits"),
        ({"step": 1, "evaluation": 3}, "field 'evaluation' must be an object"),
        (
            {"step": 1, "evaluation": {"reward_accuracy_interval": [1]}},
            "field 'evaluation.reward_accuracy_interval' must be two numbers",
        ),
    ],
    ids=["text", "half a step", "huge", "no object", "half an interval"],
)
def test_a_damaged_line_is_named_and_nothing_is_written(
    line: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", metrics=[line], evaluation={"before": None, "after": None})
    for name in ("m.csv", "m.parquet"):
        with pytest.raises(BadRun, match=words):
            report.write_metrics(folder, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_ending_of_the_name_says_the_format(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=2)
    with pytest.raises(BadConfig, match=r"a \.csv or a \.parquet file, got .*metrics"):
        report.write_metrics(folder, tmp_path / "metrics")
    assert report.write_metrics(folder, tmp_path / "M.CSV").read_text().startswith("kind,step,")
    with pytest.raises(BadRun, match="does not exist; create it first"):
        report.write_metrics(folder, tmp_path / "absent" / "m.csv")


def test_texts_of_any_kind_are_kept_in_their_cell(tmp_path: Path) -> None:
    lines = [{"step": 1, "skipped": 'a,"b"\n\ud800', "own": "x,y"}, {"step": 2, "own": {"a": 1}}]
    folder = make_run(tmp_path / "run", metrics=lines, evaluation={"before": None, "after": None})
    with report.write_metrics(folder, tmp_path / "m.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["skipped"], first["own"]) == ('a,"b"\n?', "x,y")
    assert second["own"] == '{"a": 1}'
    found = parquet.read_table(report.write_metrics(folder, tmp_path / "m.parquet"))
    assert found["own"].to_pylist() == ["x,y", '{"a": 1}']


def test_all_figures_of_an_evaluation_have_a_column() -> None:
    figures = run_fields("one", 3)["evaluation"]["after"]
    for name in figures:
        stem = f"evaluation_{name.removesuffix('_interval')}"
        assert {stem} <= set(COLUMNS) or {f"{stem}_low", f"{stem}_high"} <= set(COLUMNS)
