"""What each address answers: the list, a run, its pairs, a comparison; corrupt runs, runs going on."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collimate import report
from collimate.board.runs import planned_steps, run_folders
from tests.board.conftest import NASTY, Board
from tests.board.folders import COLUMNS, made_up, make_pairs
from tests.report.example_run import ATTACK, evaluation, make_run, metric_lines

NAMES = sorted(["plain", "second", "going", NASTY, "torn", "future", "bytes"])
CORRUPT = ("bytes", "future", "torn")


def test_the_list_has_every_run_and_nothing_else(runs: Path, board: Board) -> None:
    answer = board(runs).get("/api/runs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = {run["name"]: run for run in answer.json()["runs"]}
    assert sorted(found) == NAMES
    plain = found["plain"]
    assert [plain[name] for name in ("status", "method", "step", "steps", "created")] == [
        *("finished", "dpo", 400, 400, "2026-01-31T12:04:00Z")
    ]
    assert plain["loss"] == metric_lines(400)[-1]["loss"]
    assert (plain["reward_accuracy"], plain["likelihood_accuracy"]) == (0.63, 0.57)
    assert plain["reward_accuracy_interval"] == pytest.approx([0.6, 0.66])
    assert (found["going"]["status"], found["going"]["step"]) == ("running", 30)
    assert found["going"]["steps"] == math.ceil(6400 / 16)
    assert found[NASTY]["error"] == ATTACK


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_run_is_listed_with_its_error(name: str, runs: Path, board: Board) -> None:
    client = board(runs)
    found = {run["name"]: run for run in client.get("/api/runs").json()["runs"]}
    assert found[name]["status"] == "unreadable"
    assert found[name]["error"].startswith("run.json: ")
    for address in (f"/api/runs/{name}", f"/api/compare?run=plain&run={name}"):
        answer = client.get(address)
        assert answer.status_code == 422
        assert "run.json" in answer.json()["error"]
    assert client.get("/api/runs/plain").status_code == 200


@pytest.mark.parametrize(
    "spoil",
    [
        {"frontier": {"curves": [{"kl": [10**400], "reward": [0]}]}},
        {"evaluation": {"after": {"rows": 1, "reward_accuracy": math.nan,
                                  "reward_accuracy_interval": [-math.inf, math.inf]}}},
        {"seconds": math.inf, "skipped_steps": 10**300, "sizes": {"weights": 10**300}},
        {"config": {"epochs": 1e300, "batch_size": 0}, "status": "running"},
        {"config": {"epochs": "all", "max_steps": [1], "batch_size": None}, "status": "running"},
        {"name": 7},
        {"created": "\ud800\u2028<b>", "method": None, "model": None},
        {"alarms": [{"name": "x"}, 3]},
    ],
    ids=["huge", "infinite", "large", "epochs", "kinds", "name", "surrogate", "alarms"],
)  # fmt: skip
def test_a_strange_run_hurts_no_other(spoil: dict[str, Any], tmp_path: Path, board: Board) -> None:
    make_run(tmp_path / "good", steps=5)
    make_run(tmp_path / "strange", steps=5, **spoil)
    client = board(tmp_path)
    answer = client.get("/api/runs")
    assert answer.status_code == 200
    assert [run["name"] for run in answer.json()["runs"]] == ["good", "strange"]
    assert client.get("/api/runs/strange").status_code in (200, 422)
    assert client.get("/api/runs/good").status_code == 200


def test_a_run_has_its_report_and_what_to_try_next(runs: Path, board: Board) -> None:
    found = board(runs).get("/api/runs/plain").json()
    tabs = {tab["identity"]: tab["blocks"] for tab in found["tabs"]}
    assert list(tabs) == ["summary", "training", "data", "engine", "frontier", "samples"]
    charts = {b["identity"]: b for b in tabs["training"] if b["kind"] == "chart"}
    record = report.load(runs / "plain")
    loss = charts["chart-loss"]["figure"]["data"][0]
    assert (loss["x"], len(loss["y"])) == (record.training.step.tolist(), 400)
    assert found["next"] == list(report.what_next(record)) != []
    assert not found["pairs"]
    assert board(runs).get("/api/runs/second").json()["pairs"]


def test_pages_of_pairs(runs: Path, board: Board) -> None:
    client = board(runs)
    whole = client.get("/api/runs/second/pairs?sort=margin&descending=1&limit=500").json()
    assert (whole["pairs"], whole["found"], whole["left_out"], whole["suspects"]) == (
        120,
        120,
        0,
        2,
    )
    margins = [row["margin"] for row in whole["rows"]]
    assert margins == sorted(margins, reverse=True)
    page = client.get("/api/runs/second/pairs?sort=margin&descending=1&offset=100&limit=50").json()
    assert page["rows"] == whole["rows"][100:]
    middle = margins[60]
    above = client.get(f"/api/runs/second/pairs?min_margin={middle}").json()
    assert above["found"] == sum(margin >= middle for margin in margins)
    assert [row["index"] for row in above["rows"]] == sorted(row["index"] for row in above["rows"])
    suspect = client.get("/api/runs/second/pairs?suspect=1").json()["rows"]
    assert [(row["row"], row["suspect"]) for row in suspect] == [
        (4, "row 4: its answers are alike"),
        (10, "row 10: its answers are alike"),
    ]
    texts = made_up(120)
    assert [row["prompt"] for row in above["rows"]] == [
        texts[row["index"]][0] for row in above["rows"]
    ]


def test_one_pair_token_by_token(runs: Path, board: Board) -> None:
    found = board(runs).get("/api/runs/second/pairs/7").json()
    prompt, chosen, rejected = made_up(120)[7]
    assert found["prompt"] == prompt
    assert ["".join(answer["tokens"]) for answer in found["answers"]] == [chosen, rejected]
    pairs = report.load_pairs(runs / "second")
    assert pairs is not None
    for answer, values in zip(found["answers"], pairs.log_ratios(7), strict=True):
        assert len(answer["tokens"]) == len(answer["values"])
        np.testing.assert_allclose(answer["values"], values.astype(float))
    everything = np.abs(np.concatenate(pairs.log_ratios(7)).astype(float))
    assert found["scale"] == pytest.approx(np.quantile(everything, 0.95))
    assert found["unit"] == "log-ratio"
    assert (found["index"], found["numbers"]["row"], found["suspect"]) == (7, 14, None)


def test_a_method_without_a_reference_has_log_probs(tmp_path: Path, board: Board) -> None:
    make_pairs(make_run(tmp_path / "one", steps=3, without=("reference",)), made_up(2), begun=0.0)
    found = board(tmp_path).get("/api/runs/one/pairs/1").json()
    assert (found["unit"], found["scale"]) == ("log-prob", 1.0)
    assert {value for answer in found["answers"] for value in answer["values"]} == {None}


def test_a_comparison_has_each_runs_curve_and_what_differs(runs: Path, board: Board) -> None:
    found = board(runs).get("/api/compare?run=plain&run=second&run=plain").json()
    assert found["runs"] == ["plain", "second"]
    tabs = report.comparison_tabs([report.load(runs / name) for name in ("plain", "second")])
    kinds = [block.kind for tab in tabs for block in tab.blocks]
    assert [block["kind"] for block in found["blocks"]] == kinds
    assert {"chart", "legend", "table"} <= set(kinds)


def test_settings_that_differ_are_a_table(tmp_path: Path, board: Board) -> None:
    for name, beta in (("a", 0.1), ("b", 0.3)):
        fields = {"config": {"beta": beta, "seed": 0, **({"lora_rank": 8} if name == "b" else {})}}
        make_run(tmp_path / name, steps=3, **fields)
    blocks = board(tmp_path).get("/api/compare?run=a&run=b").json()["blocks"]
    (table,) = [block for block in blocks if block.get("title") == "Settings"]
    assert table["rows"] == [["beta", "0.1", "0.3"], ["lora_rank", "–", "8"]]


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/runs/nowhere", 404, "no run 'nowhere'"),
        ("/api/runs/empty", 404, "no run"),
        ("/api/runs/.hidden", 404, "no run"),
        ("/api/runs/notes.txt", 404, "no run"),
        ("/api/runs/plain/pairs", 404, "recorded no pairs"),
        ("/api/runs/plain/pairs/0", 404, "recorded no pairs"),
        ("/api/runs/second/pairs/120", 404, "the pairs 0 to 119"),
        ("/api/runs/second/pairs/-1", 404, "'-1'"),
        ("/api/runs/second/pairs/1e1", 404, "'1e1'"),
        ("/api/runs/second/pairs?sort=los", 400, "did you mean 'loss'"),
        ("/api/compare", 400, "1 to 6 runs"),
        ("/api/compare?run=a&run=b&run=c&run=d&run=e&run=f&run=g", 400, "got 7"),
        ("/api/compare?run=plain&run=x", 404, "no run 'x'"),
        ("/api/nothing", 404, "no such address"),
        ("/static/nothing.js", 404, "no file"),
    ],
)
def test_errors_are_json_and_say_what_is_wrong(
    address: str, status: int, words: str, runs: Path, board: Board
) -> None:
    answer = board(runs).get(address)
    assert answer.status_code == status
    assert words in answer.json()["error"]


@pytest.mark.parametrize("address", ["/nothing", "/runs/nowhere", "/runs/empty", "/runs/", "/a/b"])
def test_unknown_pages_are_404_and_still_a_page(address: str, runs: Path, board: Board) -> None:
    answer = board(runs).get(address, follow_redirects=False)
    assert answer.status_code == 404
    assert "<title>Collimate board</title>" in answer.text


def test_what_has_not_changed_is_not_sent_again(tmp_path: Path, board: Board) -> None:
    run = make_run(tmp_path / "one", steps=5, status="running")
    client = board(tmp_path)
    for address in ("/api/runs", "/api/runs/one", "/static/app.js", "/"):
        first = client.get(address)
        again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    tag = client.get("/api/runs/one").headers["etag"]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, "loss": 0.1}) + "\n")
    fresh = client.get("/api/runs/one", headers={"If-None-Match": tag})
    assert (fresh.status_code, fresh.json()["step"], fresh.json()["loss"]) == (200, 6, 0.1)


@pytest.mark.slow
def test_a_run_that_is_being_written_at_every_byte(tmp_path: Path, board: Board) -> None:
    run = make_run(tmp_path / "one", steps=4, status="running", evaluation=None)
    whole = (run / "metrics.jsonl").read_bytes()
    client = board(tmp_path)
    steps = []
    for end in [*range(0, len(whole), 7), len(whole)]:
        (run / "metrics.jsonl").write_bytes(whole[:end])
        found = client.get("/api/runs/one")
        assert found.status_code == 200, found.json()
        steps.append(found.json()["step"])
    assert steps == sorted(steps)
    assert set(steps) == {0, 1, 2, 3, 4}


def test_a_long_evaluation_line_does_not_hide_the_step(tmp_path: Path, board: Board) -> None:
    lines = [
        {"step": 1, "loss": 0.5},
        *[{"step": 1, "evaluation": evaluation(0.5, 0.5, 0, 0)}] * 20,
    ]
    make_run(tmp_path / "one", metrics=lines, status="running")
    (found,) = board(tmp_path).get("/api/runs").json()["runs"]
    assert (found["step"], found["loss"]) == (1, 0.5)


def test_the_table_of_pairs_is_read_anew(tmp_path: Path, board: Board) -> None:
    run = make_pairs(make_run(tmp_path / "one", steps=3, status="running"), made_up(20), begun=0.0)
    client = board(tmp_path)
    assert client.get("/api/runs/one/pairs?min_loss=-1").json()["found"] == 0
    table = np.lib.format.open_memmap(run / "pairs" / "table.npy", mode="r+")
    table[3, COLUMNS.index("loss")] = 0.25  # in place, as the run does
    table.flush()
    (row,) = client.get("/api/runs/one/pairs?min_loss=-1").json()["rows"]
    assert (row["index"], row["loss"]) == (3, 0.25)


def test_a_folder_that_goes_away_and_comes_back(tmp_path: Path, board: Board) -> None:
    make_run(tmp_path / "runs" / "one", steps=3)
    client = board(tmp_path / "runs")
    assert client.get("/api/runs/one").status_code == 200
    shutil.move(tmp_path / "runs" / "one", tmp_path / "one")
    assert client.get("/api/runs/one").status_code == 404
    (tmp_path / "runs").rmdir()
    assert client.get("/api/runs").status_code == 422
    (tmp_path / "runs").mkdir()
    assert client.get("/api/runs").json()["runs"] == []


@pytest.mark.parametrize(
    ("config", "status", "expected"),
    [
        ({"max_steps": 7, "epochs": 2, "batch_size": 4}, "running", 7),
        ({"max_steps": None, "epochs": 2, "batch_size": 4}, "running", 6),
        ({"max_steps": None, "epochs": 0.5, "batch_size": 4}, "running", 2),
        ({"epochs": 2}, "running", None),
        ({"max_steps": 7}, "finished", 5),
    ],
)
def test_planned_steps(
    config: dict[str, Any], status: str, expected: int | None, tmp_path: Path
) -> None:
    data = {"train": {"file": "x", "used": 10}, "evaluation": None}
    run = make_run(tmp_path, steps=5, config=config, status=status, data=data)
    assert planned_steps(report.load(run, metrics=False)) == expected


def test_names_that_no_address_can_hold_are_left_out(tmp_path: Path) -> None:
    for name in (b"bad\xff", b"new\nline", b"fine"):
        folder = bytes(tmp_path) + b"/" + name
        Path(folder.decode("utf-8", "surrogateescape")).mkdir()
        Path((folder + b"/run.json").decode("utf-8", "surrogateescape")).write_text("{}")
    assert list(run_folders(tmp_path)) == ["fine"]


def test_an_alarm_of_the_run_is_said_first(tmp_path: Path, board: Board) -> None:
    said = "at step 3 the chosen answers of 5 pairs lost 4 nats"
    alarm = {"name": "displacement", "step": 3, "sentence": said}
    make_run(tmp_path / "one", steps=3, alarms=[alarm])
    summary = board(tmp_path).get("/api/runs/one").json()["tabs"][0]["blocks"]
    assert summary[0]["title"] == "Before anything else"
    assert summary[0]["sentences"] == [f"Step 3: {said}"]
