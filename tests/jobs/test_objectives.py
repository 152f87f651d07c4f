"""The numbers that a sweep compares runs by."""

from __future__ import annotations

import math
from typing import Any

import pytest

from collimate._checks import BadConfig, TrainingFailed
from collimate.jobs._objectives import GOALS, goals_from

RECORD: dict[str, Any] = {
    "config": {"method": "dpo"},
    "phases": {"train": 3.5, "reference": 9.0},
    "evaluation": {
        "before": {"reward_accuracy": 0.5},
        "after": {
            "reward_accuracy": 0.75,
            "likelihood_accuracy": 0.625,
            "calibration_error": 0.125,
            "log_ratio_chosen": -1.0,
            "log_ratio_rejected": -4.0,
        },
    },
    "measured": {"kl": 2.0, "entropy": 7.0},
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reward_accuracy", 0.75),
        ("likelihood_accuracy", 0.625),
        ("calibration_error", 0.125),
        ("mean_log_ratio", -2.5),
        ("cost", 3.5),
        ("kl", 2.0),
        ("entropy", 7.0),
    ],
)
def test_each_reads_its_own_number(name: str, expected: float) -> None:
    assert GOALS[name].of(RECORD) == expected


def test_the_table_above_has_them_all() -> None:
    assert len(GOALS) == 7
    assert all("KL" not in goal.meaning or goal.name == "kl" or "not a KL" in goal.meaning
               for goal in GOALS.values())  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(GOALS) - {"cost"}))
def test_what_a_record_lacks_is_not_made_up(name: str) -> None:
    bare = {**RECORD, "evaluation": {"before": None, "after": None}, "measured": {}}
    with pytest.raises(BadConfig, match=f"has no {name}"):
        GOALS[name].of(bare)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_place_on_a_front(value: float) -> None:
    with pytest.raises(TrainingFailed, match="diverged"):
        GOALS["cost"].of({**RECORD, "phases": {"train": value}})


def test_directions_are_the_users() -> None:
    one, two = goals_from(["mean_log_ratio:min", "cost"])
    assert (one.direction, two.direction) == ("min", "min")
    assert GOALS["mean_log_ratio"].direction == "max"


def test_names_of_ones_own_are_read_from_what_was_measured() -> None:
    goal, _ = goals_from(["reward:max", "kl"], own=True)
    assert goal.of({**RECORD, "measured": {"reward": 1.5}}) == 1.5
    with pytest.raises(BadConfig, match="its measure gave no such number"):
        goal.of(RECORD)
