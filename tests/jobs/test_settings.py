"""Every setting has a domain, and says so before anything is loaded."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

from collimate import _checks
from collimate._checks import BadConfig
from collimate.data import FORMATS
from collimate.jobs import settings as settings_module
from collimate.jobs.settings import TrainSettings, settings_from
from collimate.optim import SCHEDULES, default_learning_rate, learning_rate

GOOD: list[dict[str, Any]] = [
    {},
    {"epochs": 0.5},
    {"epochs": 3},
    {"max_steps": 1},
    {"max_steps": None},
    {"learning_rate": 1e-9},
    {"warmup": 0.0},
    {"warmup": 0},
    {"warmup": 0.999},
    {"weight_decay": 0.0},
    {"weight_decay": 10},
    {"samples": 0},
    {"seed": 0},
    {"schedule": "linear"},
    {"precision": "bf16"},
    {"cache": Path("x")},
    {"cache": "x"},
    {"cache_gb": 0},
    {"cache_gb": 0.5},
    {"trackers": ("tensorboard",)},
]
BAD: list[tuple[str, Any]] = [
    *[
        (name, value)
        for name in ("batch_size", "log_every", "keep", "tokens_per_micro_batch")
        for value in (0, -1, 1.5, "8", True, None)
    ],
    *[
        (name, value)
        for name in (
            "max_steps",
            "limit",
            "lora_rank",
            "max_prompt",
            "max_answer",
            "evaluate_every",
            "checkpoint_every",
        )
        for value in (0, -3, 2.0, "2", False)
    ],
    *[(name, value) for name in ("samples", "seed") for value in (-1, 0.5, None, True)],
    *[
        (name, value)
        for name in ("epochs", "learning_rate", "lora_alpha", "max_gradient_norm")
        for value in (0, -1.0, float("nan"), float("inf"), "1", True)
    ],
    *[("warmup", value) for value in (-0.1, 1.0, 2, float("nan"), "0.1", None)],
    *[("weight_decay", value) for value in (-0.1, float("inf"), float("nan"), "0.1")],
    ("epochs", None),
    ("max_gradient_norm", None),
    *[("schedule", value) for value in ("cosin", "", None, 3)],
    *[("precision", value) for value in ("fp16", "bf-16", None)],
    *[("device", value) for value in ("gpu", "cuda:1", None)],
    *[("on_bad_row", value) for value in ("drop", True)],
    *[
        (name, value)
        for name in (
            "dropout",
            "truncate_answers",
            "resume",
            "trust_remote_code",
            "progress",
            "report",
        )
        for value in ("no", "false", 1, None)
    ],
    ("trackers", "wandb"),
    ("trackers", (3,)),
    ("cache", 3),
    *[("cache_gb", value) for value in (-0.1, float("inf"), float("nan"), "2", None, True)],
]


def unhooked(module: ModuleType) -> Any:
    """The module as users run it: without the check of types that the tests put before ours."""
    name = "users_" + module.__name__.rpartition(".")[2]
    spec = importlib.util.spec_from_file_location(name, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


users_checks, users = unhooked(_checks), unhooked(settings_module)
for _name in ("positive", "within", "BadConfig"):
    setattr(users, _name, getattr(users_checks, _name))


@pytest.mark.parametrize("given", GOOD, ids=str)
def test_good_values_are_taken(given: dict[str, Any]) -> None:
    settings = users.settings_from(given)
    assert all(getattr(settings, name) == value for name, value in given.items())
    assert settings_from({}) == TrainSettings()


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda part: repr(part))
def test_bad_values_are_refused_by_name(name: str, value: Any) -> None:
    message = rf"^{name} must be .*got {re.escape(repr(value))}"
    with pytest.raises(users.BadConfig, match=message):
        users.settings_from({name: value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", None),
        ("batchsize", "batch_size"),
        ("learnin_rate", "learning_rate"),
        ("Seed", "seed"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, meant: str | None) -> None:
    hint = f"; did you mean '{meant}'" if meant else ""
    with pytest.raises(BadConfig, match=re.escape(f"unknown setting '{name}'{hint}")):
        settings_from({name: 1})


def test_every_setting_is_in_the_record() -> None:
    record = TrainSettings(cache=Path("a/b")).to_json()
    assert record.keys() == {field.name for field in fields(TrainSettings)}
    assert record["cache"] == "a/b"


@pytest.mark.parametrize(
    ("width", "full"), [(32, 1e-4), (256, 1e-4), (512, 2.5e-5), (4096, 1e-4 / 256)]
)
def test_the_default_rate_falls_with_the_square_of_the_width_from_256(
    width: int, full: float
) -> None:
    assert default_learning_rate(width, adapter=False) == pytest.approx(full)
    assert default_learning_rate(width, adapter=True) == pytest.approx(10 * full)


def test_the_formats_offered_are_those_that_can_be_read() -> None:
    assert get_args(get_type_hints(TrainSettings)["format"]) == FORMATS


class TestSchedule:
    def test_every_schedule_is_offered(self) -> None:
        assert get_args(get_type_hints(TrainSettings)["schedule"]) == SCHEDULES

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_rises_to_the_peak_and_then_never_again(self, schedule: str) -> None:
        rates = [
            learning_rate(i, steps=40, peak=2.0, warmup=8, schedule=schedule) for i in range(40)
        ]
        assert rates[:8] == [pytest.approx(2.0 * (i + 1) / 8) for i in range(8)]
        assert rates[8] == 2.0
        assert all(a >= b for a, b in pairwise(rates[8:]))
        assert all(rate > 0 for rate in rates)
        assert rates[-1] == (2.0 if schedule == "constant" else pytest.approx(rates[-1]))
        if schedule != "constant":
            assert rates[-1] < 0.1

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_no_warmup_begins_at_the_peak(self, schedule: str) -> None:
        assert learning_rate(0, steps=5, peak=1.0, warmup=0, schedule=schedule) == 1.0

    def test_the_midpoint_by_hand(self) -> None:
        named: dict[str, Any] = {"steps": 12, "peak": 1.0, "warmup": 2}
        assert learning_rate(7, schedule="cosine", **named) == pytest.approx(0.5)
        assert learning_rate(7, schedule="linear", **named) == pytest.approx(0.5)
