"""The page as text: whole, escaped, honest about what is missing, never half-written."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest

from collimate import report
from collimate._checks import BadRun, MissingExtra
from collimate.report import RunRecord, _write
from collimate.report._blocks import Chart, Prose, Table
from collimate.report._figures import label
from collimate.report._write import safe_json, tabs
from tests.report.example_run import ATTACK, evaluation, frontier, make_attacked_run, make_run


def record(folder: Path, **changes: Any) -> RunRecord:
    return report.load(make_run(folder / "run", **{"steps": 60, **changes}))


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    page = report.render(report.load(make_attacked_run(tmp_path)))
    elements = Elements(page).found
    assert [tag for tag, _ in elements].count("script") == 3  # figures, plotly, page
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "form")]
    assert not [a for _, attributes in elements for a in attributes if a.startswith("on")]
    assert "window.pwned=1</script>" not in page
    assert page.count("&lt;img src=x onerror") > 20
    assert "\u2028" not in re.findall(r'id="figures">(.*?)</script>', page, re.S)[0]


def test_figures_survive_as_json(tmp_path: Path) -> None:
    page = report.render(report.load(make_attacked_run(tmp_path)))
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', page, re.S)[0])
    names = [trace["name"] for trace in figures["chart-frontier"]["data"]]
    assert all("<" not in name and "&lt;/script&gt;" in name for name in names)


@pytest.mark.parametrize("text", [ATTACK, "<b>x</b>", "a & b", "&lt;b&gt;", "%{x}", "\u2029"])
def test_embedded_json_is_json_without_dangerous_characters(text: str) -> None:
    embedded = safe_json({"text": text})
    assert json.loads(embedded) == {"text": text}
    assert not set("<>&\u2028\u2029") & set(embedded)


def test_labels_have_no_character_that_plotly_reads_as_markup() -> None:
    assert label("<a href='javascript:x'>y</a>") == "&lt;a href='javascript:x'&gt;y&lt;/a&gt;"
    assert label("two\nlines\tof  text") == "two lines of text"
    assert label("x" * 100) == "x" * 39 + "…"


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    page = report.render(record(tmp_path, frontier=frontier()))
    assert page.startswith("<!doctype html>")
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    assert policy in page
    for tag, attributes in Elements(page).found:
        assert not {"src", "srcset", "action", "poster"} & set(attributes), tag
        assert (attributes.get("href") or "#").startswith(("#", "data:")), tag
    assert page.count("plotly.js v") == 1


def test_every_figure_is_one_that_plotly_accepts(tmp_path: Path) -> None:
    run = record(tmp_path, frontier=frontier())
    charts = [chart for tab in tabs(run) for chart in tab.charts]
    assert len(charts) == 6
    for chart in charts:
        figure = json.loads(re.sub(r"var\(--[\w-]+\)", "red", json.dumps(chart.figure)))
        plotly.graph_objects.Figure(figure)  # raises on an unknown or wrong property


def test_every_colour_of_a_figure_is_defined_by_the_style(tmp_path: Path) -> None:
    page = report.render(record(tmp_path, frontier=frontier()))
    style = re.findall(r"<style>(.*?)</style>", page, re.S)[0]
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used <= set(re.findall(r"(--[\w-]+):", style))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": []}, "No training step has been logged yet"),
        ({"evaluation": {"before": None, "after": None}}, "There is no held-out evaluation"),
        ({"samples": []}, "This run has no samples."),
        ({"without": ["model"]}, "The run has not recorded its model yet."),
        ({"without": ["method"]}, "The run has not recorded its method yet."),
        ({"without": ["data"]}, "The run has not recorded its training data yet."),
        (
            {"status": "failed", "error": "CUDA is out"},
            "The run failed after 60 steps: CUDA is out.",
        ),
        ({"frontier": {"world": "w", "points": []}}, "No method has a point in this world yet."),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    page = report.render(record(tmp_path, **changes))
    assert said in page
    shown = tabs(record(tmp_path, **changes))
    assert all(tab.blocks for tab in shown)


def test_a_run_of_which_nothing_is_known_has_every_tab(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    shown = tabs(report.load(tmp_path))
    assert [tab.identity for tab in shown] == ["summary", "training", "data", "engine", "samples"]
    for tab in shown:
        assert any(isinstance(block, Prose) for block in tab.blocks), tab.identity


def test_a_loss_that_is_not_finite_is_said_and_drawn_as_a_gap(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.7}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 0.6}]
    run = record(tmp_path, metrics=lines)
    page = report.render(run)
    assert "The loss is missing or not finite on 1 step, first on step 2" in page
    figures = {chart.identity: chart.figure for tab in tabs(run) for chart in tab.charts}
    assert figures["chart-loss"]["data"][0]["y"] == [0.7, None, 0.6]


def test_an_evaluation_without_figures_raises_no_alarm(tmp_path: Path) -> None:
    lines = [{"step": 1, "loss": 0.7}, {"step": 1, "evaluation": None}, {"step": 2, "loss": 0.6}]
    run = record(tmp_path, metrics=lines)
    assert "missing or not finite" not in report.render(run)
    figures = {chart.identity: chart.figure for tab in tabs(run) for chart in tab.charts}
    assert figures["chart-loss"]["data"][0]["y"] == [0.7, 0.6]


def test_a_reference_that_is_another_model_is_no_start(tmp_path: Path) -> None:
    """Its log-ratios are 20 nats off at the start; curve, circles and notes must not be."""
    lines = [
        {"step": step, "log_ratio_chosen": 20.0 - step, "log_ratio_rejected": 25.0 - 2 * step}
        for step in range(1, 6)
    ]
    figures = {
        "before": evaluation(0.5, 0.5, 20.0, 25.0),
        "after": evaluation(0.5, 0.5, 16.0, 17.0),
    }
    run = record(tmp_path, metrics=lines, evaluation=figures, reference={"is_policy": False})
    chart = next(c for tab in tabs(run) for c in tab.charts if c.identity == "chart-displacement")
    drawn = {trace["name"]: trace["y"] for trace in chart.figure["data"]}
    assert drawn["chosen"] == [0.0, -1.0, -2.0, -3.0, -4.0]
    assert drawn["rejected"] == [0.0, -2.0, -4.0, -6.0, -8.0]
    assert drawn["chosen, held-out"] == [0.0, -4.0]
    assert drawn["rejected, held-out"] == [0.0, -8.0]
    page = report.render(run)
    assert "The reference is another model, and steps hold different pairs" in page
    assert "need not be 0: the reference is another model" in page
    assert "to the start of training" not in page
    assert "start equal" not in page


def test_a_reference_that_is_the_policy_is_the_start(tmp_path: Path) -> None:
    page = report.render(record(tmp_path))
    assert "Mean log-ratio of the given answers to the start of training" in page
    assert "0 but for rounding: policy and reference start equal" in page
    assert "another model" not in page


def test_a_long_run_is_thinned_and_says_so(tmp_path: Path) -> None:
    lines = [{"step": s, "loss": 9.0 if s == 1_234 else 0.5} for s in range(1, 3_001)]
    run = record(tmp_path, metrics=lines)
    chart = next(c for tab in tabs(run) for c in tab.charts if c.identity == "chart-loss")
    assert "3,000 logged steps are drawn as at most 1,000 points per line" in "".join(chart.caption)
    raw = chart.figure["data"][0]
    assert len(raw["x"]) <= 1000
    assert raw["y"][raw["x"].index(1_234)] == 9.0


def test_many_evaluations_are_spread_and_counted(tmp_path: Path) -> None:
    figures = evaluation(0.5, 0.5, 0.0, 0.0)
    lines = [{"step": step, "evaluation": figures} for step in range(1, 1001)]
    training = [{"step": 1000, "loss": 0.5}]
    shown = tabs(record(tmp_path, metrics=[*lines, *training], steps=1000))
    table = next(x for x in shown[1].blocks if isinstance(x, Table) and "evaluations" in x.title)
    assert [table.rows[0][0], table.rows[-1][0], len(table.rows)] == ["0", "1,000", 20]
    assert table.note.endswith("20 of 1,001 evaluations, evenly spread.")


def test_lone_surrogates_and_controls_do_not_stop_the_page(tmp_path: Path) -> None:
    sample = {"prompt": "\ud800 \x00 \x1b[2J", "before": "", "after": None, "chosen": None}
    folder = make_run(tmp_path, steps=2, samples=[sample])
    assert "empty: the model ended at once" in report.write(folder).read_text("utf-8")


def test_many_samples_are_cut_and_counted(tmp_path: Path) -> None:
    sample = {"prompt": "p", "before": "b" * 9000, "after": "a", "chosen": None}
    page = report.render(record(tmp_path, samples=[sample] * 60))
    assert page.count("<article") == 50
    assert "The first 50 of 60 samples" in page
    assert "(1,000 more characters)" in page


def test_the_report_lies_in_the_run_folder_or_where_asked(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=2)
    assert report.write(folder) == folder / "report.html"
    assert report.write(folder, tmp_path / "other.html") == tmp_path / "other.html"
    assert (folder / "report.html").read_bytes() == (tmp_path / "other.html").read_bytes()


def test_bad_places_are_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=2)
    with pytest.raises(BadRun, match=r"is a folder; name a file, such as .*report.html"):
        report.write(folder, tmp_path)
    with pytest.raises(BadRun, match="does not exist; create it first"):
        report.write(folder, tmp_path / "absent" / "x.html")


def test_a_failed_write_leaves_the_old_page_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path, steps=2)
    old = report.write(folder).read_bytes()
    before = sorted(tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadRun, match=r"cannot write .*: No space left on device; free some space"):
        report.write(folder)
    assert (folder / "report.html").read_bytes() == old
    assert sorted(tmp_path.iterdir()) == before


def test_a_new_page_replaces_the_old_file_and_never_writes_into_it(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path / name, steps=2) for name in ("first", "second"))
    page = tmp_path / "page.html"
    old = report.write(first, page).read_bytes()
    (tmp_path / "held.html").hardlink_to(page)  # what a reader who opened the old page holds
    assert report.write(second, page).read_bytes() != old
    assert (tmp_path / "held.html").read_bytes() == old


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr(_write, "require_extra", _absent)
    with pytest.raises(MissingExtra, match=r"collimate\[report\]"):
        report.write(make_run(tmp_path, steps=2))
    assert not (tmp_path / "report.html").exists()


def _absent(module: str, extra: str) -> None:
    raise MissingExtra(f'{module}: pip install "collimate[{extra}]"')


def test_reading_needs_neither_torch_nor_the_extra() -> None:
    code = (
        "import sys; import collimate.report; "
        "print(sorted({'torch', 'jinja2', 'plotly', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


KINDS = {
    "preference, explicit prompt": ("pairs", "chosen", "the gap"),
    "lists, explicit prompt, read as preference: the best answer against the worst": (
        *("pairs", "chosen", "the gap"),
    ),
    "thumbs, explicit prompt": ("answers", "wanted", "the distance of their means"),
    "preference, explicit prompt, read as thumbs: each answer by itself": (
        *("answers", "wanted", "the distance of their means"),
    ),
    "lists, explicit prompt": ("lists", "best", "the gap"),
}


def words_shown(found: RunRecord) -> str:
    """All that the page's tabs say of their own accord, curves and axes included."""

    def said(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple | list):
            for item in value:
                yield from said(item)
        elif isinstance(value, Chart):
            yield from (value.title, value.summary, *value.caption)
            yield from (trace["name"] for trace in value.figure["data"])
            yield value.figure["layout"]["yaxis"]["title"]["text"]
        elif is_dataclass(value):
            for field in fields(value):
                yield from said(getattr(value, field.name))

    return " | ".join(said(tabs(found)))


@pytest.mark.parametrize("form", KINDS)
@pytest.mark.parametrize("status", ["finished", "running"])
def test_a_page_speaks_of_the_kind_of_data(status: str, form: str, tmp_path: Path) -> None:
    units, better, gap = KINDS[form]
    example = record(tmp_path)
    assert example.train_data is not None
    found = replace(
        example,
        train_data=replace(example.train_data, format=form, notes=()),
        evaluation_data=None,
        samples=(),
        method=None,
        config={},
        status=status,
        after=example.after if status == "finished" else None,
    )
    shown = words_shown(found).replace(form, "").lower()
    for word in (units, better, gap if status == "finished" else better):
        assert word in shown
    others = {"pair", "chosen", "list", "best", "wanted", "the gap", "distance of their means"}
    kept = {units[:-1], better, gap.removeprefix("the ") if "distance" in gap else gap}
    wrong = {word for word in others - kept if re.search(rf"\b{word}s?\b", shown)}
    assert wrong == set()
    lines = " ".join(report.summary_lines(found))
    assert better in lines
