"""The charts as files: those of the page, in the formats asked for, whatever the names."""

from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from collimate import report
from collimate._checks import BadConfig, BadRun, MissingExtra
from collimate.report._exports import figures
from collimate.report._exports.plot import _palette, colour, figure
from collimate.report._write import tabs
from tests.report.example_run import frontier, make_attacked_run, make_run

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.slow
def test_every_chart_of_a_run_is_a_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=60, frontier=frontier())
    paths = report.write_figures([run], tmp_path / "figures")
    assert sorted(path.name for path in paths) == [
        f"{name}.svg"
        for name in ("accuracy", "displacement", "frontier", "gradient", "loss", "rate")
    ]
    for path in paths:
        assert ET.parse(path).getroot().tag == f"{SVG}svg"
    again = report.write_figures([run], tmp_path / "again")
    for first, second in zip(paths, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_several_runs_have_the_figures_of_their_comparison(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, steps=60) for name in ("a", "b")]
    names = {path.stem for path in report.write_figures(runs, tmp_path / "figures", format="png")}
    assert {"loss", "reward-accuracy", "likelihood-accuracy", "gap", "likelihood"} <= names
    for path in (tmp_path / "figures").iterdir():
        head = path.read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:24])
        assert min(width, height) > 300


def test_a_figure_has_the_curves_of_its_chart(tmp_path: Path) -> None:
    record = report.load(make_run(tmp_path / "run", steps=60))
    for chart in (chart for tab in tabs(record) for chart in tab.charts):
        drawn = figure(chart).axes[0]
        lines = {tuple(map(float, line.get_ydata())) for line in drawn.lines}
        for trace in chart.figure["data"]:
            if trace.get("fill") is None:
                ys = tuple(float("nan") if y is None else y for y in trace["y"])
                assert ys in lines, (chart.identity, trace["name"])
        assert drawn.get_xlabel() == chart.figure["layout"]["xaxis"]["title"]["text"]


@pytest.mark.slow
def test_names_are_drawn_as_text(tmp_path: Path) -> None:
    """A dollar would begin mathematics, and a tag end up in the file."""
    runs = [make_attacked_run(tmp_path / name) for name in ("a", "b")]
    runs.append(make_run(tmp_path / "c", steps=60, name="$\\frac{1}{0$ </svg><script>"))
    for path in report.write_figures(runs, tmp_path / "figures"):
        tags = {element.tag.removeprefix(SVG) for element in ET.parse(path).iter()}
        assert not tags & {"script", "image", "a", "foreignObject"}


def test_every_colour_of_the_page_is_known_to_the_figures() -> None:
    assert colour("var(--none)") == (0.0, 0.0, 0.0, 0.0)
    assert {f"--run-{n}" for n in range(1, 7)} <= set(_palette())


def test_old_figures_are_replaced_and_other_files_stay(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run", steps=60), tmp_path / "figures"
    out.mkdir()
    (out / "loss.svg").write_text("old")
    (out / "mine.txt").write_text("mine")
    report.write_figures([run], out)
    assert (out / "loss.svg").read_text("utf-8").startswith("<?xml")
    assert (out / "mine.txt").read_text() == "mine"


def test_what_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run", steps=60), tmp_path / "figures"
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "run.json").write_text('{"schema_version": 1, "status": "running"}')
    with pytest.raises(BadConfig, match=r"format must be one of 'svg', 'png', got 'pdf'"):
        report.write_figures([run], out, format="pdf")
    with pytest.raises(BadRun, match="nothing to draw"):
        report.write_figures([begun], out)
    with pytest.raises(BadRun, match="is not a folder"):
        report.write_figures([run, tmp_path / "absent"], out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(BadRun, match=r"the figures go into a folder, but .* is a file"):
        report.write_figures([run], out)
    assert out.read_text() == "mine"


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(module: str, extra: str) -> None:
        raise MissingExtra(f'{module}: pip install "collimate[{extra}]"')

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(figures, "require_extra", absent)
    with pytest.raises(MissingExtra, match=r"matplotlib: pip install .collimate\[figures\]"):
        report.write_figures([make_run(tmp_path / "run", steps=60)], tmp_path / "out")
    assert not (tmp_path / "out").exists()
