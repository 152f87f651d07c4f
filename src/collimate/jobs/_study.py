"""Optuna, asked which settings to try: the only module that imports it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna

from collimate.tradeoffs.pareto import Direction

_WAYS: Mapping[Direction, optuna.study.StudyDirection] = {
    "max": optuna.study.StudyDirection.MAXIMIZE,
    "min": optuna.study.StudyDirection.MINIMIZE,
}
POPULATION = 8  # of a generation of NSGA-II: runs are dear


def search(
    attempt: Callable[[str, float | None], Sequence[float] | None],
    *,
    methods: Mapping[str, bool],
    beta: Sequence[float],
    directions: Sequence[Direction],
    sampler: str,
    trials: int,
) -> None:
    """Call `attempt(method, beta)` for at most `trials` settings; it returns a value per objective.

    methods: name -> whether it has a beta (else it is None). grid: every method at every beta, in an
    order drawn once; random: methods evenly, beta log-uniform between the smallest and the largest;
    nsga2: the same at first, then bred from what was good. None for the values: the setting
    failed.

    The study is in memory and its seed fixed: told the same values, it asks for the same settings
    again, so that a sweep which goes on replays what its run folders hold. Source: deb:02 (NSGA-II).
    """
    tuned = any(methods.values())

    def objective(trial: optuna.Trial) -> Sequence[float]:
        method = trial.suggest_categorical("method", list(methods))
        value: float | None = None
        if methods[method] and sampler == "grid":
            value = trial.suggest_categorical("beta", list(beta))
        elif methods[method]:
            drawn = trial.suggest_float("beta", min(beta), max(beta), log=True)
            value = float(f"{drawn:.3g}")
        told = attempt(method, value)
        return [math.nan] * len(directions) if told is None else list(told)

    space = {"method": list(methods), **({"beta": list(beta)} if tuned else {})}
    samplers: Mapping[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "grid": lambda: optuna.samplers.GridSampler(space, seed=0),
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=POPULATION),
    }
    with _silent():
        ways = [_WAYS[way] for way in directions]
        study = optuna.create_study(sampler=samplers[sampler](), directions=ways)
        study.optimize(objective, n_trials=trials)


@contextmanager
def _silent() -> Iterator[None]:
    """Without optuna's own lines on the console: ours say what was tried, and what failed."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
