"""Every preset runs through `collimate.train`: reference or none, couples or not, held-out data too."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from collimate import methods
from tests.equivalence.runs import metrics_of, text_pairs, train

pytestmark = pytest.mark.slow

PAIRS = [
    {**row, "margin": 0.5 + i % 3, "gold": row["chosen"]} for i, row in enumerate(text_pairs(24))
]
THUMBS = [
    {"prompt": row["prompt"], "completion": row[("chosen", "rejected")[i % 2]], "label": i % 2 == 0}
    for i, row in enumerate(text_pairs(24))
]
LISTS = [
    {
        "prompt": row["prompt"],
        "completions": [row["rejected"], row["chosen"], row["chosen"] + " " + row["rejected"]],
        "scores": [-0.1, 0.1, 0.05 * (i % 2)],
    }
    for i, row in enumerate(text_pairs(24))
]
ROWS = {"pairs": PAIRS, "thumbs": THUMBS, "lists": LISTS}


@pytest.mark.parametrize("name", methods.__all__)
def test_it_trains_and_is_evaluated(name: str, tmp_path: Path) -> None:
    method = getattr(methods, name)()
    rows = ROWS[method.needs.view]
    run = train(tmp_path / "run", data=rows, evaluation=rows[:8], method=method, max_steps=6)
    lines = metrics_of(run)
    assert len(lines) == 6
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert ("reward_gap" in lines[0]) == method.margin.compares
    assert (run.record["reference"] is None) == (not method.needs.reference)
    before, after = (run.record["evaluation"][when]["loss"] for when in ("before", "after"))
    assert after < before
    assert run.record["method"]["name"] == name


OF_ANSWERS = [name for name in methods.__all__ if getattr(methods, name)().needs.view != "pairs"]


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_pairs_serve_methods_of_answers(name: str, tmp_path: Path) -> None:
    run = train(tmp_path / "run", data=PAIRS, method=name, max_steps=2)
    assert "read as " in run.record["data"]["train"]["format"]


def test_lists_serve_methods_of_pairs(tmp_path: Path) -> None:
    run = train(tmp_path / "run", data=LISTS, method="dpo", max_steps=2)
    assert run.record["data"]["train"]["format"].endswith("the best answer against the worst")
