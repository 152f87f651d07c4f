"""What to try next follows from the numbers, one rule at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collimate.report import load, what_next
from collimate.report._next import KEEP_CHOSEN, KNOW_LENGTH
from tests.report.example_run import data_facts, evaluation, make_run

CLEAR = {"before": evaluation(0.5, 0.5, 0, 0), "after": evaluation(0.7, 0.7, 1, -1)}
CALM = {"train": data_facts("train.jsonl", 1000, {}), "evaluation": None}


def advice(folder: Path, **changes: Any) -> str:
    """Of a run in whose numbers nothing calls for anything, but for these changes."""
    fields = {"evaluation": CLEAR, "data": CALM, **changes}
    return "\n".join(
        what_next(load(make_run(folder, metrics=changes.pop("metrics", []), **fields)))
    )


def test_nothing_calls(tmp_path: Path) -> None:
    found = advice(tmp_path, steps=0)
    assert found.startswith("Nothing in these numbers calls for a change")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "stopped"}, "the same command with --resume"),
        ({"status": "failed"}, "Mend what the error names"),
        ({"evaluation": {"before": None, "after": None}, "config": {}}, "Give --evaluation"),
        ({"evaluation": {**CLEAR, "after": evaluation(0.7, 0.7, -3, -8)}},
         "lost 3 nats: sort the pairs by displacement"),
        ({"evaluation": {**CLEAR, "after": evaluation(0.53, 0.6, 1, -1)}},
         "intervals of 1,000 held-out rows before and after overlap: four times"),
        ({"data": {"train": {**CALM["train"], "chosen_longer": 0.7}}},
         "In 70.0 % of the pairs the chosen answer is the longer one"),
        ({"data": {"train": {**CALM["train"], "answers_truncated": 50}}},
         "5.0 % of the rows lost the end of an answer: raise --max-answer"),
        ({"data": {"train": {**CALM["train"], "skipped": {"empty answer": 100}}}},
         "10.0 % of the rows were left out"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:20],
)  # fmt: skip
def test_each_rule_speaks_alone(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = advice(tmp_path, **changes)
    assert words in found
    assert found.count("\n") == 0


def test_a_held_out_loss_that_rose_again_says_where_to_stop(tmp_path: Path) -> None:
    def at(step: int, loss: float) -> dict[str, Any]:
        return {"step": step, "evaluation": {**evaluation(0.7, 0.7, 1, -1), "loss": loss}}

    after = {"before": {**CLEAR["before"], "loss": 0.69}, "after": {**CLEAR["after"], "loss": 0.66}}
    run = make_run(
        tmp_path, metrics=[at(20, 0.6), at(40, 0.62)], evaluation=after, data=CALM, steps=60
    )
    (found,) = what_next(load(run))
    assert "lowest at step 20 (0.6, now 0.66): stop there (--max-steps 20)" in found
    record = load(run)
    falling = replace(record, evaluations=())
    assert not any("lowest" in sentence for sentence in what_next(falling))
    assert record.after is not None
    assert record.before is not None
    rising = replace(record, before=replace(record.before, loss=0.5))
    assert "Held-out loss rose from 0.5 to 0.66" in what_next(rising)[0]


def test_a_run_that_goes_on_is_left_in_peace(tmp_path: Path) -> None:
    assert advice(tmp_path, status="running") == ""


def test_at_most_four(tmp_path: Path) -> None:
    train = {**CALM["train"], "chosen_longer": 0.9, "answers_truncated": 500, "skipped": {"x": 500}}
    worst = {**CLEAR, "after": evaluation(0.5, 0.5, -5, -9)}
    assert (
        advice(tmp_path, status="failed", data={"train": train}, evaluation=worst).count("\n") == 3
    )


def test_every_method_it_names_is_one() -> None:
    catalogue = Path(__file__).resolve().parents[2] / "src" / "collimate" / "jobs" / "methods.json"
    known = json.dumps(json.loads(catalogue.read_text(encoding="utf-8")))
    assert [name for name in (*KEEP_CHOSEN, *KNOW_LENGTH) if f'"{name}"' not in known] == []
