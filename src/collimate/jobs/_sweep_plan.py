"""The arguments of a sweep that are its own, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collimate._checks import BadConfig, one_of
from collimate.jobs._comparison import checked_worst
from collimate.jobs._objectives import Goal, goals_from
from collimate.jobs._swept import Maker, checked_betas, checked_seeds, makers
from collimate.jobs.run import Run
from collimate.lab import Frontier

SAMPLERS = ("grid", "random", "nsga2")
Measure = Callable[[Run], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepPlan:
    """What is tried, with which seeds, and what it is compared by; see `collimate.frontier`."""

    makers: Mapping[str, Maker]
    beta: tuple[float, ...]
    seeds: tuple[int, ...]
    goals: tuple[Goal, ...]
    worst: Mapping[str, float]
    sampler: str
    trials: int
    kl_samples: int
    measure: Measure | None
    exact: Frontier | None

    def to_json(self) -> dict[str, Any]:
        """For the field `config` of frontier.json: what may change when the sweep goes on."""
        return {
            "methods": list(self.makers),
            "beta": list(self.beta),
            "seeds": list(self.seeds),
            "sampler": self.sampler,
            "trials": self.trials,
            "kl_samples": self.kl_samples,
        }


def sweep_plan(
    *,
    methods: Sequence[str] | Mapping[str, Callable[..., Any]],
    beta: int | float | Sequence[int | float],
    seeds: int | Sequence[int],
    objectives: Sequence[str],
    worst: Mapping[str, int | float] | None,
    sampler: str,
    trials: int | None,
    kl_samples: int,
    measure: Measure | None,
    exact: Frontier | None,
    evaluated: bool,
) -> SweepPlan:
    """The plan. evaluated: whether there are held-out data. Errors: BadConfig."""
    made, betas = makers(methods), checked_betas(beta)
    goals = goals_from(objectives, own=measure is not None)
    one_of("sampler", sampler, SAMPLERS)
    if sampler != "grid" and len(betas) < 2 and any(one.takes_beta for one in made.values()):
        raise BadConfig(f"sampler '{sampler}' draws beta from a range: give its two ends")
    if trials is not None:
        _count("trials", trials, least=1)
    _count("kl_samples", kl_samples, least=0)
    for goal in goals:
        if goal.needs == "evaluation" and not evaluated:
            raise BadConfig(
                f"objective '{goal.name}' is measured on held-out data: give evaluation (--evaluation), "
                "or other objectives"
            )
        if goal.needs == "samples" and not kl_samples and measure is None:
            raise BadConfig(
                f"objective '{goal.name}' is measured on the policy's own samples: give kl_samples "
                "(--kl-samples), or other objectives"
            )
    if kl_samples and not evaluated:
        raise BadConfig("kl_samples answers held-out prompts: give evaluation (--evaluation) too")
    if exact is not None and not {"kl", "reward"} <= {goal.name for goal in goals}:
        raise BadConfig("an exact frontier is of kl and reward: give both as objectives")
    return SweepPlan(
        makers=made,
        beta=betas,
        seeds=checked_seeds(seeds),
        goals=goals,
        worst=checked_worst(worst, goals),
        sampler=sampler,
        trials=trials or len(made) * len(betas),
        kl_samples=kl_samples,
        measure=measure,
        exact=exact,
    )


def _count(name: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadConfig(f"{name} must be a whole number of at least {least}, got {value!r}")
