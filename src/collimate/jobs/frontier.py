"""`collimate.frontier`: a sweep over methods and betas, and the front that its runs make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collimate._checks import BadConfig, BadRun, require_extra
from collimate.engine.load import AnyModel, Tokenizer
from collimate.jobs._console import Console
from collimate.jobs._sweep import Stopped, Sweeping
from collimate.jobs._sweep_plan import Measure, sweep_plan
from collimate.jobs.settings import settings_from
from collimate.lab import Frontier as ExactFrontier
from collimate.report import write_sweep
from collimate.tradeoffs import Front

OBJECTIVES = ("reward_accuracy", "mean_log_ratio")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """A finished (or stopped) sweep: its folder, its record (frontier.json), the front.

    front: of the settings that have every seed, in the record's order; None without any.
    """

    folder: Path
    record: dict[str, Any]
    front: Front | None


def frontier(
    model: AnyModel,
    data: Any,
    *,
    out: str | Path,
    methods: Sequence[str] | Mapping[str, Callable[..., Any]] = ("dpo",),
    beta: int | float | Sequence[int | float] = (0.03, 0.1, 0.3),
    seeds: int | Sequence[int] = (0, 1, 2),
    objectives: Sequence[str] = OBJECTIVES,
    worst: Mapping[str, int | float] | None = None,
    sampler: str = "grid",
    trials: int | None = None,
    kl_samples: int = 0,
    measure: Measure | None = None,
    exact: ExactFrontier | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    reference: AnyModel | None = None,
    evaluation: Any = None,
    **settings: Any,
) -> Sweep:
    """Train every setting with every seed, and say which are on the front (docs/frontier.md).

    Each run is an ordinary run folder in `out/runs`, made by `collimate.train`; all share one cache of
    reference log-probs (`out/cache` unless given), so that the reference is computed once. A setting
    that fails is recorded with its reason, and the others go on.

    Args:
        model: as `collimate.train` takes it; of an object each run trains a copy.
        data: as `collimate.train` takes it.
        out: the sweep's folder; new, or with `resume=True` the sweep to go on with. No finished run is
            repeated; methods, beta, seeds, trials and objectives may be others than before.
        methods: presets by name, or name -> function (of `beta`, or of nothing).
        beta: values of the grid; of the other samplers, the ends of the range.
        seeds: the same for every setting, so that settings are compared in pairs.
        objectives: two to five of docs/frontier.md, `NAME` or `NAME:max`, `NAME:min`.
        worst: name -> coordinate of the hypervolume's reference point.
        sampler: grid (all settings), random or nsga2.
        trials: settings to try; None: as many as the grid has.
        kl_samples: answers to draw from each policy for each of at most 32 held-out prompts, for the
            objectives kl and entropy.
        measure: (run) -> further numbers of a finished run by name, objectives by these names.
        exact: the exact frontier of a known world, where `measure` gives `kl` and `reward` in it.
        tokenizer: as `collimate.train` takes it.
        reference: as `collimate.train` takes it.
        evaluation: held-out data, which most objectives are measured on.
        settings: of every run, see `TrainSettings`; report is of the sweep.

    Errors: a `CollimateError`; where no setting could be trained at all, the first one's.

    Example:
        sweep = collimate.frontier("path/to/model", "pairs.jsonl", evaluation="held_out.jsonl",
            methods=["dpo", "ipo"], beta=[0.03, 0.1, 0.3], out="sweeps/a")
    """
    require_extra("optuna", "frontier")
    if "seed" in settings:
        raise BadConfig("a sweep has seeds, the same for every setting: give seeds instead of seed")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise BadConfig("a sweep runs in one process: start it without torchrun or accelerate")
    options = settings_from(settings)
    if options.report:
        require_extra("plotly", "report")
    plan = sweep_plan(
        methods=methods,
        beta=beta,
        seeds=seeds,
        objectives=objectives,
        worst=worst,
        sampler=sampler,
        trials=trials,
        kl_samples=kl_samples,
        measure=measure,
        exact=exact,
        evaluated=evaluation is not None,
    )
    from collimate.jobs._study import search  # optuna, where it is asked for

    console = Console(enabled=options.progress)
    work = Sweeping(
        folder=Path(out),
        inputs={
            "model": model,
            "data": _kept(data),
            "tokenizer": tokenizer,
            "reference": reference,
            "evaluation": _kept(evaluation),
        },
        settings=settings,
        options=options,
        plan=plan,
        console=console,
    )
    try:
        with console.bar("runs", total=None) as bar:
            work.bar = bar
            search(
                work.attempt,
                methods={name: maker.takes_beta for name, maker in plan.makers.items()},
                beta=plan.beta,
                directions=[goal.direction for goal in plan.goals],
                sampler=plan.sampler,
                trials=plan.trials,
            )
        status = "finished" if any(one.error is None for one in work.tried.values()) else "failed"
    except Stopped:
        status = "stopped"
    except KeyboardInterrupt:
        work.write("stopped")
        raise
    except BadRun:  # a folder of another sweep, a full disk: what is there stays
        raise
    except BaseException:
        work.write("failed")
        raise
    record, front = work.write(status)
    if status == "failed":
        raise next(iter(work.errors))
    if options.report:
        console.say(f"report: {write_sweep(work.folder)}")
    return Sweep(folder=work.folder, record=record, front=front)


def _kept(data: Any) -> Any:
    """Rows that every run can read."""
    return list(data) if isinstance(data, Iterator) else data
