"""The demo as a user runs it, held to its bars."""

from __future__ import annotations

from pathlib import Path

import pytest

import collimate


@pytest.mark.slow
def test_the_demo_reaches_the_frontier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = collimate.demo(tmp_path / "demo")
    dpo, *others = demo.outcomes
    assert dpo.name == "dpo"
    assert dpo.share_of_gain >= 0.85
    assert dpo.outside <= 0.01
    assert dpo.reward > demo.reference_reward
    assert len(others) == 2
    for outcome in demo.outcomes:
        assert outcome.tabular_tv < 1e-4, "exactness is claimed of the tabular policy"
        assert 0 < outcome.share_of_gain <= 1, "nothing lies beyond the exact frontier"
    page = demo.report.read_text(encoding="utf-8")
    assert all(outcome.name in page for outcome in demo.outcomes)
    told = capsys.readouterr()
    table = [line for line in (told.out + told.err).splitlines() if "dpo" in line]
    assert f"{dpo.share_of_gain:.3f}" in "".join(table)
