"""`collimate report` of several runs, and `collimate export` of all that is not a model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Collimate


@pytest.fixture
def two(finished: Path, tmp_path: Path) -> tuple[str, str]:
    """Two copies of the finished run in the current folder."""
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    return "a", "b"


def test_several_runs_are_one_page_in_the_current_folder(
    collimate: Collimate, two: tuple[str, str], tmp_path: Path
) -> None:
    done = collimate("report", *two)
    assert (done.code, done.out) == (0, "comparison.html\n"), done.err
    page = (tmp_path / "comparison.html").read_text("utf-8")
    assert "<title>2 runs compared" in page
    assert "run (a)" in page
    assert "run (b)" in page
    assert (
        collimate("report", *two, "--out", "p.html", "--json").out == '{\n "report": "p.html"\n}\n'
    )
    assert (tmp_path / "p.html").exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_metrics_have_a_row_for_every_line(
    ending: str, collimate: Collimate, finished: Path, tmp_path: Path
) -> None:
    done = collimate("export", "metrics", finished, "--out", f"m.{ending}")
    assert (done.code, done.out) == (0, f"m.{ending}\n"), done.err
    logged = [json.loads(x) for x in (finished / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in logged if "loss" in line]
    if ending == "csv":
        with (tmp_path / "m.csv").open(newline="") as file:
            found = [float(row["loss"]) for row in csv.DictReader(file)]
    else:
        from pyarrow import parquet

        found = parquet.read_table(tmp_path / "m.parquet")["loss"].to_pylist()
    assert found == losses
    assert len(losses) == 3


@pytest.mark.slow
def test_figures_are_named_after_what_they_show(
    collimate: Collimate, two: tuple[str, str], tmp_path: Path
) -> None:
    done = collimate("export", "figures", "a", "--out", "figures", "--format", "png")
    assert done.code == 0, done.err
    assert "figures/loss.png" in done.out.splitlines()
    assert all((tmp_path / line).read_bytes()[1:4] == b"PNG" for line in done.out.splitlines())
    both = collimate("export", "figures", *two, "--out", "both", "--json")
    assert "both/reward-accuracy.svg" in json.loads(both.out)["figures"]


def test_a_card_goes_with_the_model_and_into_its_export(
    collimate: Collimate, two: tuple[str, str], tmp_path: Path
) -> None:
    done = collimate("export", "card", "a")
    assert (done.code, done.out) == (0, "a/model/README.md\n"), done.err
    card = (tmp_path / "a" / "model" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "rafailov:23" in card
    assert collimate("export", "a", "--out", "exported").code == 0
    assert (tmp_path / "exported" / "README.md").read_text("utf-8") == card
    assert collimate("export", "card", "b", "--out", "card.md").out == "card.md\n"
    assert collimate("export", "card", "b", "--json").out == '{\n "card": "b/model/README.md"\n}\n'


def test_without_a_word_the_model_is_exported(
    collimate: Collimate, finished: Path, tmp_path: Path
) -> None:
    assert collimate("export", "model", finished, "--out", "one").out == "one\n"
    assert collimate("export", finished, "--out", "two").out == "two\n"
    assert collimate("export", "--out", "three", finished).out == "three\n"
    names = [{p.name for p in (tmp_path / x).iterdir()} for x in ("one", "two", "three")]
    assert names[0] == names[1] == names[2] >= {"model.safetensors", "config.json"}
    helped = collimate("export", "--help").out
    assert all(f"  {word} " in helped for word in ("model", "metrics", "figures", "card"))
