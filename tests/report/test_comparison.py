"""One page about several runs: what it says follows from their records, whatever they are called."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

from collimate import report
from collimate._checks import BadRun
from collimate.report import RunRecord
from collimate.report._blocks import Bars, Chart, Facts, Legend, Prose, Table, Writings
from collimate.report._comparison.overview import ticks_over
from collimate.report._comparison.page import comparison_tabs
from collimate.report._comparison.runs import compared
from collimate.report._write import _resource
from tests.report.example_run import (
    evaluation,
    frontier,
    make_old_run,
    make_run,
)
from tests.report.several import config, method, records, runs, said, seeded, tab, table

# The tables


def test_the_table_has_the_figures_of_each_run(tmp_path: Path) -> None:
    figures = {
        "before": evaluation(0.5, 0.5, 0, 0),
        "after": evaluation(0.61, 0.72, 1.5, -2.5),
    }
    found = records(tmp_path, {}, {"evaluation": figures, "status": "stopped", "steps": 60})
    first, second = table(tab(found, "runs"), "Runs").rows
    assert first[:3] == ("a", "dpo, fixed(0.1)", "60")
    assert first[3:7] == ("0.57 [0.54, 0.60]", "0.63 [0.60, 0.66]", "\u22123.1", "\u22127.8")
    assert second[:3] == ("b", "dpo, fixed(0.1)", "60 (stopped)")
    assert second[3:7] == ("0.61 [0.58, 0.64]", "0.72 [0.69, 0.75]", "+1.5", "\u22122.5")
    assert first[7:] == ("8 min 32 s", "1.12 GiB")


def test_a_move_that_is_not_held_out_has_a_star(tmp_path: Path) -> None:
    found = records(tmp_path, {}, {"evaluation": {"before": None, "after": None}})
    first, second = table(tab(found, "runs"), "Runs").rows
    assert "*" not in first[5]
    assert second[3] == "–"
    assert second[5].endswith(" *")


def test_seeds_of_one_setting_are_grouped(tmp_path: Path) -> None:
    def after(share: float, reward: float) -> dict[str, Any]:
        ends = evaluation(share, reward, -1, -2)
        return {"evaluation": {"before": evaluation(0.5, 0.5, 0, 0), "after": ends}}

    found = records(
        tmp_path,
        seeded(0, **after(0.60, 0.70)),
        seeded(1, **after(0.64, 0.70)),
        seeded(2, **after(0.56, 0.76)),
        {**seeded(0, **after(0.9, 0.9)), **config(seed=0, learning_rate=1e-3)},
    )
    (row,) = table(tab(found, "runs"), "Seeds of one setting").rows
    assert row[:2] == ("dpo, fixed(0.1): a and 2 more", "0, 1, 2")
    assert row[2] == "0.600 [0.560, 0.640]"
    assert row[3] == "0.720 [0.700, 0.760]"
    assert row[5] == "8 min 32 s"
    assert [run.colour for run in compared(found)] == ["run-1"] * 3 + ["run-2"]


def test_runs_of_different_settings_have_no_table_of_seeds(tmp_path: Path) -> None:
    found = records(tmp_path, {}, config(learning_rate=1e-3))
    titles = [b.title for b in tab(found, "runs").blocks if isinstance(b, Table)]
    assert titles == ["Runs"]


def test_execution_details_make_no_other_setting(tmp_path: Path) -> None:
    found = records(tmp_path, {}, seeded(1, **config(seed=1, tokens_per_micro_batch=7, keep=9)))
    assert {run.setting for run in compared(found)} == {0}


def test_differences_are_listed_and_the_rest_is_counted(tmp_path: Path) -> None:
    found = records(
        tmp_path, {}, {**config(learning_rate=1e-3, beta=None), **method(loss="squared")}
    )
    differences = tab(found, "differences")
    assert table(differences, "Settings").rows == (
        ("beta", "0.1", "none"),
        ("learning_rate", "5e-05", "0.001"),
    )
    assert table(differences, "Method").rows == (("Loss", "logistic", "squared"),)
    (same,) = [b for b in differences.blocks if isinstance(b, Facts)]
    assert same.title == f"{len(same.rows)} facts in which all runs agree"
    labelled = {row.label: row.value for row in same.rows}
    assert labelled["Settings: epochs"] == "1"
    assert "Settings: beta" not in labelled


def test_long_values_stay_different_when_they_are_cut(tmp_path: Path) -> None:
    ends = [f"{'d' * 60}{middle}{'e' * 60}" for middle in "xy"]
    found = records(tmp_path, config(model="m" * 99), config(model="n" * 99))
    cut = table(tab(found, "differences"), "Settings").rows[0]
    assert len(cut[1]) == len(cut[2]) == 44
    found = records(tmp_path / "alike", *(config(model=end) for end in ends))
    assert table(tab(found, "differences"), "Settings").rows[0][1:] == tuple(ends)


def test_runs_that_differ_in_nothing_are_said_to(tmp_path: Path) -> None:
    assert "differ in nothing" in said(tab(records(tmp_path, {}, {}), "differences"))


# The curves and other charts


def charts(found: Sequence[RunRecord]) -> dict[str, Chart]:
    return {c.identity: c for tab in comparison_tabs(found) for c in tab.charts}


def test_every_chart_is_one_that_plotly_accepts_in_colours_of_the_style(tmp_path: Path) -> None:
    found = records(tmp_path, {"frontier": frontier()}, seeded(1), {"frontier": frontier()})
    drawn = charts(found)
    assert sorted(drawn) == sorted(
        f"chart-{name}"
        for name in (
            *("loss", "reward-accuracy", "likelihood-accuracy", "gap", "chosen", "rejected"),
            "frontier",
        )
    )
    style = set(re.findall(r"(--[\w-]+):", _resource("page.css")))
    for chart in drawn.values():
        text = json.dumps(chart.figure)
        assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= style
        plotly.graph_objects.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "red", text)))


def test_a_curve_is_the_average_of_its_own_run(tmp_path: Path) -> None:
    lines = [
        [{"step": s, "loss": k + s / 10, "log_ratio_chosen": -k * s, "log_ratio_rejected": k * s}
         for s in (1, 2, 3)]
        for k in (1.0, 2.0)
    ]  # fmt: skip
    found = records(tmp_path, *({"metrics": line, "without": ["evaluation"]} for line in lines))
    drawn = charts(found)
    by_run = {trace["meta"]: trace["y"] for trace in drawn["chart-loss"].figure["data"]}
    assert by_run == {0: [1.1, 1.2, 1.3], 1: [2.1, 2.2, 2.3]}
    gaps = {trace["meta"]: trace["y"] for trace in drawn["chart-gap"].figure["data"]}
    assert gaps == {0: [-2.0, -4.0, -6.0], 1: [-4.0, -8.0, -12.0]}


def test_held_out_points_lie_where_they_were_measured(tmp_path: Path) -> None:
    both = {"before": evaluation(0.5, 0.5, 0, 0), "after": evaluation(0.6, 0.7, 2, -1)}
    found = records(tmp_path, {"evaluation": both}, {"evaluation": both})
    marks = [t for t in charts(found)["chart-gap"].figure["data"] if t["mode"] == "markers"]
    assert [(t["meta"], t["x"], t["y"]) for t in marks] == [
        (0, [0.0, 60.0], [0.0, 3.0]),
        (1, [0.0, 60.0], [0.0, 3.0]),
    ]


def test_beyond_a_dozen_runs_the_first_are_shown(tmp_path: Path) -> None:
    one = report.load(make_run(tmp_path / "one", steps=400))
    found = [replace(one, name=f"run {n}") for n in range(30)]
    legend = next(b for b in tab(found, "curves").blocks if isinstance(b, Legend))
    assert [key.shown for key in legend.keys] == [True] * 12 + [False] * 18
    assert [key.name for key in legend.keys][::29] == ["run 0", "run 29"]
    assert "12 of 30 runs are shown" in legend.note
    points = sum(
        len(trace["x"]) for chart in charts(found).values() for trace in chart.figure["data"]
    )
    assert points < 30 * 6 * 60


def test_of_many_seeds_each_setting_shows_its_first(tmp_path: Path) -> None:
    found = records(
        tmp_path,
        *(
            {**seeded(s), **config(seed=s, epochs=e), "steps": 3}
            for e in (1, 2, 3)
            for s in range(5)
        ),
    )
    legend = next(b for b in tab(found, "curves").blocks if isinstance(b, Legend))
    assert [key.shown for key in legend.keys] == ([True] * 4 + [False]) * 3


def test_an_interval_chart_has_a_row_for_each_run_that_was_measured(tmp_path: Path) -> None:
    found = records(tmp_path, {}, {"evaluation": {"before": None, "after": None}}, {})
    bars = next(b for b in tab(found, "runs").blocks if isinstance(b, Bars))
    assert [row.name for row in bars.rows] == ["a", "c"]
    assert [text for _, text in bars.ticks] == ["0.54", "0.56", "0.58", "0.6"]
    assert (bars.rows[0].low, bars.rows[0].middle, bars.rows[0].high) == (0.0, 50.0, 100.0)
    figure = bars.chart.figure
    plotly.graph_objects.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "red", json.dumps(figure))))
    assert figure["layout"]["yaxis"]["ticktext"] == ["a", "c"]
    first = figure["data"][0]
    assert (first["x"], first["y"]) == ([0.57], [0])
    assert first["error_x"]["array"] == pytest.approx([0.03])
    assert "overlapping intervals do not mean that there is no difference" in said(
        tab(found, "runs")
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -1.0])
def test_a_share_that_is_none_is_in_the_table_but_not_drawn(value: float, tmp_path: Path) -> None:
    odd = {**evaluation(0.5, 0.5, 0, 0), "reward_accuracy": value}
    found = records(tmp_path, {}, {"evaluation": {"before": odd, "after": odd}}, seeded(1))
    bars = [b for b in tab(found, "runs").blocks if isinstance(b, Bars)]
    assert [[row.name for row in block.rows] for block in bars] == [["a", "b", "c"], ["a", "c"]]
    assert report.render_comparison(found)


@pytest.mark.parametrize("low", [0.0, 0.123, 0.5, 0.99])
@pytest.mark.parametrize("width", [0.0, 0.004, 0.06, 0.31, 1.0])
def test_ticks_are_few_and_around_the_values(low: float, width: float) -> None:
    ticks = ticks_over([low, min(low + width, 1.0)])
    assert 3 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= min(low + width, 1.0) - 1e-6
    assert np.ptp(np.diff(ticks)) < 1e-6


def test_one_world_has_one_frontier_and_other_worlds_their_own(tmp_path: Path) -> None:
    other = {**frontier(), "world": "Another world."}
    found = records(
        tmp_path, {"frontier": frontier()}, {"frontier": frontier()}, {"frontier": other}
    )
    drawn = charts(found)
    assert {"chart-frontier", "chart-frontier-2"} <= set(drawn)
    names = [trace["name"] for trace in drawn["chart-frontier"].figure["data"]]
    assert [name for name in names if name.endswith(": dpo")] == ["a: dpo", "b: dpo"]
    second = [trace["name"] for trace in drawn["chart-frontier-2"].figure["data"]]
    assert [name for name in second if name.endswith(": dpo")] == ["c: dpo"]


def test_samples_stand_side_by_side_by_prompt(tmp_path: Path) -> None:
    def sample(prompt: str, after: str) -> dict[str, Any]:
        return {"prompt": prompt, "before": "", "after": after, "chosen": None}

    found = records(
        tmp_path,
        {"samples": [sample("p", "from a"), sample("q", "alone")]},
        {"samples": [sample("p", "from b")]},
    )
    (block,) = tab(found, "samples").blocks
    assert isinstance(block, Writings)
    ((item),) = block.items
    assert (item.prompt, item.answers) == ("p", (("a", "from a"), ("b", "from b")))


def test_alarms_of_every_run_come_first(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.5, "skipped_steps": 1}]
    found = records(tmp_path, {}, {"metrics": lines})
    first = tab(found, "runs").blocks[0]
    assert isinstance(first, Prose)
    assert first.title == "Before anything else"
    assert first.sentences[0].startswith("b: 1 step was skipped")


# The page


@pytest.mark.slow
def test_three_long_runs_are_one_file_below_five_megabytes(tmp_path: Path) -> None:
    text = {"prompt": "p" * 500, "before": "b" * 3000, "after": "a" * 3000, "chosen": None}
    samples = [{**text, "prompt": f"{n}{text['prompt']}"} for n in range(10)]
    folders = runs(tmp_path, *({"steps": 3000, "samples": samples} for _ in range(3)))
    page = report.write_comparison(folders, tmp_path / "page.html")
    assert 4_000_000 < page.stat().st_size < 5_000_000
    assert page.read_text("utf-8").count("plotly.js v") == 1


def test_runs_of_which_nothing_is_known_have_a_page(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    page = report.write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html")
    assert "No run has logged a training step yet." in page.read_text("utf-8")


def test_a_run_of_the_older_schema_is_compared_with_a_new_one(tmp_path: Path) -> None:
    old, new = make_old_run(tmp_path / "old"), make_run(tmp_path / "new", steps=60)
    page = report.write_comparison([old, new], tmp_path / "page.html").read_text("utf-8")
    assert "2 runs compared" in page
    first, second = table(tab([report.load(old), report.load(new)], "runs"), "Runs").rows
    assert first[1:7] == second[1:7]
    assert (first[8], second[8]) == ("–", "1.12 GiB")


@pytest.mark.parametrize("broken", ["missing", "damaged", "twice", "one"])
def test_a_run_that_cannot_be_read_is_named_before_anything_is_written(
    broken: str, tmp_path: Path
) -> None:
    good = make_run(tmp_path / "good", steps=2)
    bad = tmp_path / "bad"
    if broken == "damaged":
        make_run(bad, steps=2)
        (bad / "run.json").write_text("{")
    folders = {"twice": [good, tmp_path / "x" / ".." / "good"], "one": [good]}
    words = {
        "missing": r"bad is not a folder",
        "damaged": r"bad.run\.json: must be JSON",
        "twice": "are the same run: name it once",
        "one": "two runs or more to compare, got 1",
    }
    with pytest.raises(BadRun, match=words[broken]):
        report.write_comparison(folders.get(broken, [good, bad]), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
