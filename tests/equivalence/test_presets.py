"""Every preset runs through `collimate.train`: reference or none, couples or not, held-out data too."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from collimate import methods
from tests.equivalence.runs import metrics_of, text_pairs, train

pytestmark = pytest.mark.slow

ROWS = [{**row, "margin": 0.5 + i % 3} for i, row in enumerate(text_pairs(24))]


@pytest.mark.parametrize("name", methods.__all__)
def test_it_trains_and_is_evaluated(name: str, tmp_path: Path) -> None:
    method = getattr(methods, name)()
    run = train(tmp_path / "run", data=ROWS, evaluation=ROWS[:8], method=method, max_steps=6)
    lines = metrics_of(run)
    assert len(lines) == 6
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert ("reward_gap" in lines[0]) == method.margin.compares
    assert (run.record["reference"] is None) == (not method.needs.reference)
    before, after = (run.record["evaluation"][when]["loss"] for when in ("before", "after"))
    assert after < before
    assert run.record["method"]["name"] == name
