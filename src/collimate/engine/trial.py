"""What the trial of the kernels for GPUs found, as a record; `kernels` does the trying."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal

import torch

from collimate._checks import BadRun
from collimate.engine.model import Kernels

Name = Literal["attention", "head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the trial of one kernel found.

    used: whether it is used, for the reason given. log_prob: largest difference of a token's
    log-prob to the path that it would replace (nats); gradient: of a gradient entry, relative to
    the largest, None where none was computed; each with what it is held to. seconds:
    median time of a pass with the kernel; seconds_before: without. None where it did not run.
    """

    used: bool
    reason: str
    log_prob: float | None = None
    gradient: float | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None
    seconds: float | None = None
    seconds_before: float | None = None

    def to_json(self) -> Mapping[str, object]:
        """For the run record; what is not finite is null, as JSON has no infinity."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def kernels_of(trials: Mapping[Name, Trial]) -> Kernels:
    """Those whose trial found them fit.

    >>> kernels_of({"head": Trial(used=True, reason="equal and faster")})
    Kernels(attention=False, head=True)
    """
    return Kernels(**{name: trial.used for name, trial in trials.items()})


def kernels_on(device: torch.device) -> list[Kernels]:
    """Every choice that a trial on this device could end in.

    >>> kernels_on(torch.device("cpu"))
    [Kernels(attention=False, head=False)]
    """
    some = (False, True) if device.type == "cuda" else (False,)
    return [Kernels(attention=a, head=h) for a, h in product(some, some)]


def sentence(name: Name, trial: Trial) -> str:
    """What a person is told of a trial.

    >>> sentence("head", Trial(used=True, reason="equal and faster", seconds=2e-3, seconds_before=3e-3))
    'Triton for the head is used: equal and faster (2 ms against 3)'
    """
    kernel = {"attention": "FlexAttention", "head": "Triton for the head"}[name]
    times = ""
    if trial.seconds is not None and trial.seconds_before is not None:
        times = f" ({1e3 * trial.seconds:.3g} ms against {1e3 * trial.seconds_before:.3g})"
    return f"{kernel} is {'' if trial.used else 'not '}used: {trial.reason}{times}"


def trials_from(record: object) -> Mapping[Name, Trial]:
    """The trials of a run that goes on, by its record (None in runs older than kernels).

    Errors: BadRun where the record was damaged.
    """
    if record is None:
        return {}
    damaged = BadRun("run.json: field 'kernels' was damaged: restore the file, or start a new run")
    if not isinstance(record, Mapping):
        raise damaged
    try:
        found = {name: Trial(**fields) for name, fields in record.items()}
    except TypeError as error:
        raise damaged from error
    if not (found.keys() <= {"attention", "head"} and all(map(_is_sound, found.values()))):
        raise damaged
    return found


def _is_sound(trial: Trial) -> bool:
    """Whether what was read from a file is of the types that were written."""
    numbers = (trial.log_prob, trial.gradient, trial.tolerance, trial.gradient_tolerance)
    times = (trial.seconds, trial.seconds_before)
    return (
        isinstance(trial.used, bool)
        and isinstance(trial.reason, str)
        and all(x is None or isinstance(x, int | float) for x in (*numbers, *times))
    )
