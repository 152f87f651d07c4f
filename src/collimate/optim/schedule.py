"""Learning-rate schedules as functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine", "linear")

_WIDTH, _FULL, _ADAPTER = 256, 1e-4, 1e-3


def default_learning_rate(width: int, *, adapter: bool) -> float:
    """A peak to start from for a model of hidden size `width`: 1e-4·min(1, 256/width)².

    Ten times that for a LoRA adapter. docs/decisions/0004-defaults.md says what it rests on.

    >>> f"{default_learning_rate(4096, adapter=False):.1e}"
    '3.9e-07'
    """
    return (_ADAPTER if adapter else _FULL) * min(1.0, _WIDTH / width) ** 2


def learning_rate(step: int, *, steps: int, peak: float, warmup: int, schedule: str) -> float:
    """The rate of the 0-based `step` of `steps`: linear warm-up, then the schedule's decay to 0.

    With w = warmup: peak·(step+1)/w while step < w; then, with x = (step-w)/(steps-w), peak for
    `constant`, peak·(1-x) for `linear`, peak·½(1+cos(pi·x)) for `cosine`.

    >>> [learning_rate(i, steps=4, peak=1.0, warmup=1, schedule="linear") for i in range(2)]
    [1.0, 1.0]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    x = (step - warmup) / max(1, steps - warmup)
    if schedule == "constant":
        return peak
    return peak * (1 - x) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * x))
