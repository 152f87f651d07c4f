"""What the runs of a sweep say together: means, intervals, the front, its hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collimate._checks import BadConfig, nearest
from collimate.jobs._objectives import Goal
from collimate.jobs._swept import Setting
from collimate.tradeoffs import Front, front


@dataclass(slots=True, kw_only=True)
class Tried:
    """A setting and its finished runs so far. error: why it has no more of them.

    runs: of each seed {"seed", "folder", "values": name -> number, "reference_computed"}.
    """

    setting: Setting
    runs: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    def status(self, seeds: Sequence[int]) -> str:
        """finished: with every seed; failed; else stopped before it had them."""
        if self.error is not None:
            return "failed"
        return "finished" if len(self.runs) == len(seeds) else "stopped"

    def values(self, goals: Sequence[Goal]) -> list[list[float]]:
        """[seed, objective]."""
        return [[run["values"][goal.name] for goal in goals] for run in self.runs]


def checked_worst(
    given: Mapping[str, int | float] | None, goals: Sequence[Goal]
) -> dict[str, float]:
    """The coordinates of the reference point that are known before anything is seen.

    Errors: BadConfig for one that is no objective of the sweep, or no finite number.
    """
    known = {goal.name: goal.worst for goal in goals if goal.worst is not None}
    names = [goal.name for goal in goals]
    for name, value in (given or {}).items():
        if name not in names:
            raise BadConfig(
                f"worst names '{name}', which is no objective of this sweep; they are "
                f"{', '.join(names)}{nearest(name, names)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise BadConfig(f"worst {name} must be a finite number, got {value!r}")
        known[name] = float(value)
    return known


def compared(
    tried: Sequence[Tried],
    goals: Sequence[Goal],
    seeds: Sequence[int],
    worst: Mapping[str, float],
    *,
    draws: int,
) -> tuple[dict[str, Any], Front | None]:
    """The fields `settings` and `hypervolume` of frontier.json, and the front they are of.

    The front is of the settings that have every seed, so that redrawn seeds compare them in pairs;
    None without any. A coordinate that `worst` lacks is the worst value among their runs, and said to
    be ("measured"): a volume that another sweep's must not be compared with. draws: of the bootstrap.
    """
    bare = [
        {**_setting(one), "status": one.status(seeds), **_place(None, None, goals)} for one in tried
    ]
    whole = [one for one in tried if one.status(seeds) == "finished"]
    if not whole:
        return {"settings": bare, "hypervolume": None}, None
    points = np.array([one.values(goals) for one in whole]).swapaxes(0, 1)
    ends = [points.min((0, 1)), points.max((0, 1))]
    measured = [ends[goal.direction == "min"][i] for i, goal in enumerate(goals)]
    reference = np.array([worst.get(goal.name, measured[i]) for i, goal in enumerate(goals)])
    found = front(points, [goal.direction for goal in goals], reference, draws=draws)
    places = {id(one): i for i, one in enumerate(whole)}
    settings = [
        {**told, **_place(found, places.get(id(one)), goals)}
        for told, one in zip(bare, tried, strict=True)
    ]
    volume = {
        "value": found.volume,
        "interval": [found.volume_low, found.volume_high],
        "reference": {goal.name: float(x) for goal, x in zip(goals, reference, strict=True)},
        "measured": [goal.name for goal in goals if goal.name not in worst],
    }
    return {"settings": settings, "hypervolume": volume}, found


def _setting(one: Tried) -> dict[str, Any]:
    return {
        "name": one.setting.name,
        "method": one.setting.method,
        "beta": one.setting.beta,
        "error": one.error,
        "runs": one.runs,
    }


def _place(found: Front | None, i: int | None, goals: Sequence[Goal]) -> dict[str, Any]:
    """Where a setting is on the front: nulls for one that is not compared."""
    if found is None or i is None:
        return {"mean": None, "interval": None, "on_front": None, "frequency": None}
    names = [goal.name for goal in goals]
    ends = zip(found.low[i].tolist(), found.high[i].tolist(), strict=True)
    return {
        "mean": dict(zip(names, found.mean[i].tolist(), strict=True)),
        "interval": dict(zip(names, map(list, ends), strict=True)),
        "on_front": bool(found.on_front[i]),
        "frequency": float(found.frequency[i]),
    }
