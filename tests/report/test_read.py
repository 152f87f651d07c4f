"""Run folders come back as records; broken ones say what is wrong, where, and what to do."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from collimate import report
from collimate._checks import BadRun
from tests.report.example_run import frontier, make_run, metric_lines, run_fields


def test_every_field_of_the_format_is_read(tmp_path: Path) -> None:
    record = report.load(make_run(tmp_path / "one", steps=200, frontier=frontier()))
    assert (record.name, record.status, record.steps, record.seed) == ("one", "finished", 200, 0)
    assert record.method is not None
    assert (record.method.name, record.method.source) == ("dpo", "rafailov:23 eq. 7")
    assert record.model is not None
    assert record.model.check is not None
    assert record.model.check.log_prob == 2.4e-6
    assert record.train_data is not None
    assert record.train_data.skipped == {"answers are equal": 9, "empty answer": 3}
    assert record.train_data.prompt_tokens is not None
    assert record.train_data.prompt_tokens.max == 512
    assert record.before is not None
    assert record.before.likelihood_accuracy_interval == pytest.approx((0.49, 0.55))
    assert record.reference is not None
    assert record.reference.from_cache == 11320
    assert record.sizes["weights"] == 33_570_816
    assert record.phases["train"] == 441.2
    assert [sample.chosen is None for sample in record.samples] == [False, True]
    assert record.frontier is not None
    assert [point.tabular_tv for point in record.frontier.points] == [2.1e-6, 4.4e-6, None]
    assert len(record.training) == 200
    assert [step for step, _ in record.evaluations] == [100]
    assert record.partial_lines == 0


def test_each_part_holds_what_the_file_says(tmp_path: Path) -> None:
    written = {**run_fields("one", 200), "frontier": frontier()}
    record = report.load(make_run(tmp_path / "one", steps=200, frontier=frontier()))
    for part, expected in (
        (record.method, written["method"]),
        (record.model, written["model"]),
        (record.train_data, written["data"]["train"]),
        (record.evaluation_data, written["data"]["evaluation"]),
        (record.reference, written["reference"]),
        (record.before, written["evaluation"]["before"]),
        (record.after, written["evaluation"]["after"]),
        (record.frontier, written["frontier"]),
        *zip(record.samples, written["samples"], strict=True),
    ):
        assert part is not None
        assert json.loads(json.dumps(asdict(part))) == expected


@pytest.mark.parametrize(
    ("reference", "own"),
    [
        ({"is_policy": True}, True),
        ({"is_policy": False}, False),
        ({}, True),  # a run of the time before another reference could be told
        (None, True),
    ],
)
def test_the_policy_starts_at_its_reference_unless_the_record_denies_it(
    tmp_path: Path, reference: dict[str, bool] | None, own: bool
) -> None:
    assert report.load(make_run(tmp_path, steps=1, reference=reference)).starts_at_reference is own


def test_an_evaluation_line_without_figures_is_no_training_line(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.7}, {"step": 1, "evaluation": None}, {"step": 2, "loss": 0.6}]
    record = report.load(make_run(tmp_path, metrics=lines))
    np.testing.assert_array_equal(record.training.step, [1, 2])
    assert record.evaluations == ()


def test_columns_are_the_logged_numbers_and_nan_where_absent(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": None}, {"step": 4, "loss": float("nan")}]
    record = report.load(make_run(tmp_path, metrics=lines))
    np.testing.assert_array_equal(record.training.step, [1, 2, 4])
    np.testing.assert_array_equal(record.training.loss, [0.7, math.nan, math.nan])
    assert np.isnan(record.training.gradient_norm).all()


@pytest.mark.parametrize("cut", [1, 5, 40, 60])
def test_an_incomplete_last_line_is_left_out_and_counted(tmp_path: Path, cut: int) -> None:
    folder = make_run(tmp_path, steps=5, status="running")
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    record = report.load(folder)
    # One byte less is only the newline: the line is whole.
    assert (len(record.training), record.partial_lines) == ((5, 0) if cut == 1 else (4, 1))


def test_a_line_cut_inside_a_character_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path, steps=3)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write('{"step": 4, "note": "é'.encode()[:-1])
    record = report.load(folder)
    assert (len(record.training), record.partial_lines) == (3, 1)


def test_a_run_that_has_only_begun_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    record = report.load(tmp_path)
    assert (record.name, len(record.training), record.method) == (tmp_path.name, 0, None)


def test_an_evaluation_without_figures_has_no_rows(tmp_path: Path) -> None:
    after = report.load(make_run(tmp_path, steps=1, evaluation={"after": {}})).after
    assert after is not None
    assert (after.rows, after.loss, after.reward_accuracy_interval) == (0, None, None)


def test_a_field_that_a_later_collimate_added_does_no_harm(tmp_path: Path) -> None:
    assert report.load(make_run(tmp_path, steps=2, colour="blue")).status == "finished"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema_version": 7}', "schema_version must be 1, got 7; a newer collimate"),
        ('{"name": "x"}', "schema_version must be 1, got None"),
        ('{"schema_version": "1"}', "field 'schema_version' must be a number or null, got '1'"),
        ('{"schema_version": 1, "status": "lost"}', "'status' must be one of running, finished"),
        ('{"schema_version": 1, "status": "running", "steps": "x"}', "field 'steps' must be a"),
        ('{"schema_version": 1, "status": "running", "steps": 1.5}', "'steps' must be a whole"),
        ('{"schema_version": 1, "status": "running", "seed": true}', "field 'seed' must be a"),
        ('{"schema_version": 1, "status": "running", "name": 3}', "field 'name' must be a text"),
        ('{"schema_version": 1, "status": "running", "samples": [3]}', r"'samples\[0\]' must be"),
        ('{"schema_version": 1, "status": "running", "data": 3}', "field 'data' must be an object"),
        (
            '{"schema_version": 1, "status": "running", "data": {"train": {"notes": [1]}}}',
            "field 'data.train.notes' must be a list of texts",
        ),
        (
            '{"schema_version": 1, "status": "running", "reference": {"is_policy": "no"}}',
            "field 'reference.is_policy' must be true, false or null, got 'no'",
        ),
        (
            '{"schema_version": 1, "status": "running", "frontier": {"points": [{"kl": 1}]}}',
            r"field 'frontier.points\[0\].reward' must be a number",
        ),
        (
            '{"schema_version": 1, "status": "running", "frontier": {"curves": [{"kl": [1]}]}}',
            r"'frontier.curves\[0\].reward' must be as long as kl",
        ),
        (
            '{"schema_version": 1, "status": "running", "seconds": 1' + "0" * 400 + "}",
            "fits a float",
        ),
        ("[1]", r"must be a JSON object \{...\}, got \[1\]"),
        ('{"schema_version": 1,', "must be JSON, but"),
        ("", "must be JSON, but"),
        ("[" * 100_000, "must be JSON, but"),
    ],
)
def test_a_bad_run_json_is_refused_with_the_field(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadRun, match=said) as caught:
        report.load(tmp_path)
    assert str(tmp_path / "run.json") in str(caught.value)


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b'{"schema_version": 1, "name": "\xff"}')
    with pytest.raises(BadRun, match="must be UTF-8, byte 31 is not"):
        report.load(tmp_path)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match="is not a folder; check the path"):
        report.load(tmp_path / "absent")
    with pytest.raises(
        BadRun, match=r"has no run\.json; give a folder that `collimate train` wrote"
    ):
        report.load(tmp_path)
    folder = make_run(tmp_path / "one", steps=1)
    with pytest.raises(BadRun, match=f"give its folder, {folder}"):
        report.load(folder / "run.json")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"step": ', "line 2: must be JSON"),
        (b"[1]", "line 2: must be a JSON object"),
        (b'{"loss": 1}', "line 2: field 'step' must be a whole number"),
        (b'{"step": 2, "loss": "x"}', "line 2: field 'loss' must be a number or null, got 'x'"),
        (b'{"step": 2, "evaluation": 3}', "line 2: field 'evaluation' must be an object"),
        (b'{"step": 2, "x": "\xff"}', "line 2: must be UTF-8"),
    ],
)
def test_a_bad_line_inside_metrics_is_refused(tmp_path: Path, line: bytes, said: str) -> None:
    folder = make_run(tmp_path, steps=1)
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(line + b'\n{"step": 3}\n')
    with pytest.raises(BadRun, match=said):
        report.load(folder)


def test_lost_metrics_of_a_finished_run_are_noticed(tmp_path: Path) -> None:
    folder = make_run(tmp_path, steps=9)
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(BadRun, match=r"is missing, but run\.json says that 9 steps were finished"):
        report.load(folder)


def test_the_example_is_what_json_can_hold() -> None:
    assert json.loads(json.dumps(metric_lines(3))) == metric_lines(3)
