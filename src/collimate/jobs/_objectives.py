"""What a sweep compares its runs by: numbers of a finished run's record, each under its honest name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from collimate._checks import BadConfig, TrainingFailed, nearest
from collimate.tradeoffs.pareto import Direction

MOST = 5  # the hypervolume's time grows with points^(objectives - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One objective of a sweep.

    direction: which way is better. meaning, unit: for people. worst: the coordinate of the
    hypervolume's reference point, fixed before anything is seen; None where no value is worst of all.
    needs: "evaluation" or "samples" (of the policy's own), without which no run has it. value: record
    -> number, None where the record lacks it.
    """

    name: str
    direction: Direction
    unit: str
    meaning: str
    value: Callable[[Mapping[str, Any]], float | None]
    worst: float | None = None
    needs: str | None = None

    def of(self, record: Mapping[str, Any]) -> float:
        """Its value in a run's record.

        Errors: BadConfig where the record lacks it, TrainingFailed where it is not finite.
        """
        value = self.value(record)
        if value is None:
            raise BadConfig(
                f"the run with '{record['config']['method']}' has no {self.name} ({self.meaning}): "
                f"{_LACKING.get(self.name, 'its measure gave no such number')}; leave out the "
                "objective or the method"
            )
        if not math.isfinite(value):
            raise TrainingFailed(
                f"{self.name} is {value} after training, and a front needs finite numbers: the run "
                "diverged; lower the learning rate, or leave out the setting"
            )
        return float(value)

    def to_json(self) -> dict[str, Any]:
        """For frontier.json, without the reference point."""
        return {name: getattr(self, name) for name in ("name", "direction", "unit", "meaning")}


def _held_out(*names: str) -> Callable[[Mapping[str, Any]], float | None]:
    """The mean of fields of the evaluation after training."""

    def value(record: Mapping[str, Any]) -> float | None:
        after = record["evaluation"]["after"] or {}
        found = [after[name] for name in names if after.get(name) is not None]
        return sum(found) / len(found) if len(found) == len(names) else None

    return value


def _measured(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda record: record.get("measured", {}).get(name)


_NO_RATIO = "a method without a reference, or data without such answers, gives no log-ratios"
_LACKING: Mapping[str, str] = {
    "reward_accuracy": _NO_RATIO,
    "mean_log_ratio": _NO_RATIO,
    "likelihood_accuracy": "of answers judged alone no two are compared",
    "calibration_error": "it needs pairs, and a method whose loss is of one gap of rewards per pair",
}

GOALS: Mapping[str, Goal] = {
    goal.name: goal
    for goal in (
        Goal(
            name="reward_accuracy",
            direction="max",
            unit="share",
            meaning="held-out pairs whose gap of log-ratios is positive",
            value=_held_out("reward_accuracy"),
            worst=0.0,
            needs="evaluation",
        ),
        Goal(
            name="likelihood_accuracy",
            direction="max",
            unit="share",
            meaning="held-out pairs whose chosen answer is the likelier one",
            value=_held_out("likelihood_accuracy"),
            worst=0.0,
            needs="evaluation",
        ),
        Goal(
            name="calibration_error",
            direction="min",
            unit="probability",
            meaning="expected calibration error of sigmoid(beta·h) on held-out pairs",
            value=_held_out("calibration_error"),
            worst=1.0,
            needs="evaluation",
        ),
        Goal(
            name="mean_log_ratio",
            direction="max",
            unit="nats",
            meaning="mean log-ratio of held-out answers, chosen and rejected; not a KL",
            value=_held_out("log_ratio_chosen", "log_ratio_rejected"),
            needs="evaluation",
        ),
        Goal(
            name="cost",
            direction="min",
            unit="seconds",
            meaning="wall time of training, with evaluations and checkpoints, without the reference",
            value=lambda record: record["phases"].get("train"),
        ),
        Goal(
            name="kl",
            direction="min",
            unit="nats",
            meaning="KL(policy‖reference), from the policy's own samples",
            value=_measured("kl"),
            needs="samples",
        ),
        Goal(
            name="entropy",
            direction="max",
            unit="nats",
            meaning="entropy of the policy's answers, from its own samples: their diversity",
            value=_measured("entropy"),
            worst=0.0,
            needs="samples",
        ),
    )
}
"""The objectives of every sweep, by name."""


def goals_from(texts: Iterable[str], *, own: bool = False) -> tuple[Goal, ...]:
    """Objectives as `NAME` or `NAME:max`, `NAME:min`; two to five, each once.

    own: whether other names stand for what the caller's own measure gives; those need a direction.
    Errors: BadConfig for an unknown name or direction, or another number of them.

    >>> [(goal.name, goal.direction) for goal in goals_from(["kl", "reward_accuracy:max"])]
    [('kl', 'min'), ('reward_accuracy', 'max')]
    """
    if isinstance(texts, str):
        raise BadConfig(f"objectives must be a list of names, got '{texts}'")
    goals = tuple(_goal(text, own) for text in texts)
    names = [goal.name for goal in goals]
    if not 2 <= len(goals) <= MOST or len(set(names)) < len(names):
        raise BadConfig(
            f"a front needs two to {MOST} objectives, each once, got {', '.join(names) or 'none'}; "
            f"known: {', '.join(GOALS)}"
        )
    return goals


def _goal(text: str, own: bool) -> Goal:
    name, colon, direction = str(text).partition(":")
    if colon and direction not in get_args(Direction):
        raise BadConfig(f"an objective is NAME, NAME:max or NAME:min, got '{text}'")
    way = cast("Direction", direction)
    if name in GOALS:
        known = GOALS[name]
        turned = colon and way != known.direction  # the worst value is then another one
        return replace(known, direction=way, worst=None) if turned else known
    if not own or not name.isidentifier():
        raise BadConfig(
            f"unknown objective '{name}'; known: {', '.join(GOALS)}{nearest(name, GOALS)}"
        )
    if not colon:
        raise BadConfig(f"objective '{name}' is your own: say which way is better, '{name}:max'")
    return Goal(name=name, direction=way, unit="", meaning="measured", value=_measured(name))
