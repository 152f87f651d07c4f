"""`collimate frontier` on good input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Collimate

LOSS = """
def mine(view, beta):
    return -beta * (view.policy_chosen - view.policy_rejected)
"""


def arguments(tiny: Path, out: Path | str, *more: Any) -> list[Any]:
    return [
        *("frontier", tiny / "model", tiny / "pairs.jsonl", "--out", out),
        *("--evaluation", tiny / "held_out.jsonl", "--max-steps", 2, "--batch-size", 4),
        *("--device", "cpu", "--no-progress", "--no-report", "--samples", 0),
        *more,
    ]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "frontier.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_it_prints_a_table_and_leaves_a_sweep(
    tiny: Path, collimate: Collimate, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(LOSS)
    flags = ("--methods", "dpo,own.py:mine", "--beta", "1", "--seeds", "0,1")
    given = (*flags, "--worst", "mean_log_ratio=-100", "--learning-rate", 1e-3)
    done = collimate(*arguments(tiny, "s", *given))
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split("  ")[0] == "setting"
    assert "reward_accuracy (max)" in head
    assert sorted(row.split("  ")[0] for row in rows[:2]) == ["dpo, beta 1", "own.py:mine, beta 1"]
    assert "hypervolume" in done.out
    found = record(tmp_path / "s")
    assert found["config"]["seeds"] == [0, 1]
    assert found["config"]["settings"]["learning_rate"] == 1e-3
    assert found["hypervolume"]["reference"]["mean_log_ratio"] == -100
    assert found["hypervolume"]["measured"] == []
    assert len(list((tmp_path / "s" / "runs").iterdir())) == 4
    assert not (tmp_path / "s" / "frontier.html").exists()
    assert collimate("report", "s").out.strip() == "s/frontier.html"
    assert "own.py:mine, beta 1" in (tmp_path / "s" / "frontier.html").read_text(encoding="utf-8")
    again = collimate(*arguments(tiny, "s", *given, "--resume", "--json"))
    assert again.code == 0
    assert json.loads(again.out) == record(tmp_path / "s") == found


@pytest.mark.slow
def test_failed_settings_are_told_and_the_others_kept(
    tiny: Path, collimate: Collimate, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("max_steps = 1\n")
    flags = ("--methods", "dpo,simpo", "--beta", 1, "--seeds", 3, "--config", "run.toml")
    done = collimate(*arguments(tiny, "s", *flags, "--objectives", "reward_accuracy,cost:min"))
    assert done.code == 0
    assert "simpo, beta 1 failed: " in done.out
    assert "fix it with --worst" in done.out
    assert record(tmp_path / "s")["config"]["settings"]["max_steps"] == 2  # flags win


@pytest.mark.slow
def test_samples_of_the_policy_give_a_kl(tiny: Path, collimate: Collimate, tmp_path: Path) -> None:
    flags = ("--beta", 1, "--seeds", 0, "--kl-samples", 2, "--objectives", "kl,entropy,cost")
    done = collimate(*arguments(tiny, "s", *flags))
    assert (done.code, done.err) == (0, "")
    (setting,) = record(tmp_path / "s")["settings"]
    run = tmp_path / "s" / setting["runs"][0]["folder"]
    measured = json.loads((run / "measured.json").read_text())
    assert setting["mean"]["kl"] == measured["kl"]["k1"]["mean"]
    assert setting["mean"]["entropy"] == pytest.approx(measured["entropy"]["mean"])
    assert measured["prompts"] == 10
