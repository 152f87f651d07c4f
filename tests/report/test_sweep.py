"""The page of a sweep: whole, escaped, honest about what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

from collimate._checks import BadRun
from collimate.report import write_sweep
from collimate.report._sweep import sweep_tabs
from collimate.report._sweep_record import load_sweep
from tests.report.example_run import ATTACK
from tests.report.test_page import Elements

NAMES = ("reward_accuracy", "kl", "cost")


def objective(name: str, direction: str = "max", **more: str) -> dict[str, str]:
    return {
        "name": name,
        "direction": direction,
        "unit": "nats",
        "meaning": f"what {name} is",
        **more,
    }


def setting(i: int, names: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    mean = {name: i + 0.5 * j for j, name in enumerate(names)}
    return {
        "name": f"dpo, beta {i}",
        "method": "dpo",
        "beta": i,
        "status": "finished",
        "error": None,
        "runs": [
            {"seed": seed, "folder": f"runs/dpo-beta{i}-seed{seed}", "values": mean}
            for seed in (0, 1)
        ],
        "mean": mean,
        "interval": {name: [value - 0.1, value + 0.2] for name, value in mean.items()},
        "on_front": i != 1,
        "frequency": 0.75,
        **changes,
    }


def sweep(count: int = 2, **changes: Any) -> dict[str, Any]:
    names = NAMES[:count]
    failed = {"mean": None, "interval": None, "on_front": None, "frequency": None, "runs": []}
    return {
        "schema_version": 1,
        "kind": "frontier",
        "name": "a sweep",
        "status": "finished",
        "created": "2026-01-31T12:00:00Z",
        "seconds": 75.0,
        "config": {"model": "m", "beta": [0.1]},
        "versions": {"collimate": "0.1.0"},
        "machine": {"device": "cpu"},
        "objectives": [objective(name, "min" if name == "kl" else "max") for name in names],
        "settings": [
            *(setting(i, names) for i in range(3)),
            setting(3, names, error="it diverged", status="failed", **failed),
        ],
        "hypervolume": {
            "value": 3.0,
            "interval": [2.0, 4.0],
            "reference": dict.fromkeys(names, 0.0),
            "measured": ["kl"],
        },
        "curves": [],
        **changes,
    }


def written(folder: Path, record: dict[str, Any]) -> str:
    (folder / "frontier.json").write_text(json.dumps(record))
    return write_sweep(folder).read_text(encoding="utf-8")


def figures_of(page: str) -> dict[str, Any]:
    return json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])


def test_it_shows_points_with_intervals_and_the_front(tmp_path: Path) -> None:
    page = written(tmp_path, sweep())
    (figure,) = figures_of(page).values()
    front, points = figure["data"]
    assert (front["x"], front["y"], front["line"]["shape"]) == ([0.0, 2.0], [0.5, 2.5], "vh")
    assert points["text"] == ["dpo, beta 0", "dpo, beta 1", "dpo, beta 2"]
    assert (points["x"], points["y"]) == ([0.0, 1.0, 2.0], [0.5, 1.5, 2.5])
    assert points["error_x"]["array"] == pytest.approx([0.2] * 3)
    assert points["error_y"]["arrayminus"] == pytest.approx([0.1] * 3)
    assert len(set(points["marker"]["color"])) == 2  # filled where on the front
    for said in ("2 settings of 3 on the front", "dpo, beta 3 failed: it diverged", "75.0 %"):
        assert said in page, said
    assert "the worst seen of kl" in page


def test_three_objectives_are_three_planes_without_steps(tmp_path: Path) -> None:
    figures = figures_of(written(tmp_path, sweep(3)))
    assert list(figures) == [
        "chart-reward_accuracy-kl", "chart-reward_accuracy-cost", "chart-kl-cost"
    ]  # fmt: skip
    assert all(len(figure["data"]) == 1 for figure in figures.values())


def test_a_known_curve_is_drawn_in_its_plane(tmp_path: Path) -> None:
    curve = {"name": "exact", "values": {"kl": [0, 1], "reward_accuracy": [0, 2]}}
    figures = figures_of(written(tmp_path, sweep(3, curves=[curve])))
    assert figures["chart-reward_accuracy-kl"]["data"][0]["y"] == [0, 1]
    assert len(figures["chart-kl-cost"]["data"]) == 1


def test_every_figure_is_one_that_plotly_accepts(tmp_path: Path) -> None:
    written(tmp_path, sweep(3, curves=[{"name": "exact", "values": {"kl": [0], "cost": [0]}}]))
    for tab in sweep_tabs(load_sweep(tmp_path)):
        for chart in tab.charts:
            figure = json.loads(re.sub(r"var\(--[\w-]+\)", "red", json.dumps(chart.figure)))
            plotly.graph_objects.Figure(figure)  # raises on an unknown or wrong property


def test_no_text_of_a_sweep_becomes_markup_and_it_asks_for_nothing(tmp_path: Path) -> None:
    names = (ATTACK, "kl")
    record = sweep(
        name=ATTACK,
        config={ATTACK: ATTACK},
        objectives=[objective(ATTACK, unit=ATTACK, meaning=ATTACK), objective("kl")],
        settings=[
            setting(0, names, name=ATTACK, method=ATTACK),
            setting(1, names, name=ATTACK, error=ATTACK, mean=None),
        ],
        curves=[{"name": ATTACK, "values": {ATTACK: [1], "kl": [1]}}],
    )
    page = written(tmp_path, record)
    elements = Elements(page).found
    assert [tag for tag, _ in elements].count("script") == 3  # figures, plotly, page
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "form")]
    assert not [a for _, attributes in elements for a in attributes if a.startswith("on")]
    for figure in figures_of(page).values():
        for trace in figure["data"]:
            assert all("<" not in text for text in (trace["name"], *trace.get("text", ())))
        assert "<" not in figure["layout"]["xaxis"]["title"]["text"]
    for tag, attributes in elements:
        assert not {"src", "srcset", "action", "poster"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:")), tag
    assert "default-src 'none'" in page


def test_every_colour_is_defined_by_the_style(tmp_path: Path) -> None:
    page = written(tmp_path, sweep(3))
    style = re.findall(r"<style>(.*?)</style>", page, re.S)[0]
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= set(re.findall(r"(--[\w-]+):", style))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": [], "hypervolume": None}, "No setting has all its seeds yet."),
        ({"status": "running"}, "The sweep was still going"),
    ],
    ids=["nothing yet", "running"],
)
def test_what_is_missing_is_said(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in written(tmp_path, sweep(**changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "must be a JSON object"),
        ('{"schema_version": 2}', "schema_version"),
        (json.dumps(sweep(settings=[{"name": 1}])), r"settings\[0\].name"),
        (json.dumps(sweep(hypervolume={"value": None})), "hypervolume.value"),
        (json.dumps(sweep(objectives=[objective("kl", "up")])), "max or min"),
    ],
    ids=["no object", "version", "name", "volume", "direction"],
)
def test_a_damaged_record_is_refused_by_its_field(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "frontier.json").write_text(content)
    with pytest.raises(BadRun, match=words):
        write_sweep(tmp_path)


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"has no frontier\.json"):
        write_sweep(tmp_path)
