"""Where the probability of the given answers went, as numbers and in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collimate.report._format import plural, signed
from collimate.report._record import Evaluation, RunRecord

STILL = 0.05  # nats: a change that rounds to 0.0 is called none


@dataclass(frozen=True, slots=True, kw_only=True)
class Displacement:
    """Mean change of the log-prob of the given answers since the start (nats), and over what.

    >>> Displacement(chosen=-3.0, rejected=-7.5, over="held-out pairs").gap
    4.5
    """

    chosen: float
    rejected: float
    over: str

    @property
    def gap(self) -> float:
        """How much the gap between chosen and rejected grew (nats)."""
        return self.chosen - self.rejected


def displacement(record: RunRecord) -> Displacement | None:
    """The change over held-out pairs, else over the last steps; None if unknown.

    Held-out: log-prob after minus before; where there is no evaluation before, the log-ratio after,
    which is the same because the reference is the policy as passed. Last steps: a tenth of those
    logged, five at least, because one step's pairs are few.
    """
    after = record.after
    if after is not None:
        chosen = _change(record.before, after, "chosen")
        rejected = _change(record.before, after, "rejected")
        if _finite(chosen) and _finite(rejected) and chosen is not None and rejected is not None:
            return Displacement(chosen=chosen, rejected=rejected, over="held-out pairs")
    steps = record.training
    last = max(len(steps) // 10, min(len(steps), 5))
    chosen_end, rejected_end = steps.log_ratio_chosen[-last:], steps.log_ratio_rejected[-last:]
    known = np.isfinite(chosen_end) & np.isfinite(rejected_end)
    if not known.any():
        return None
    return Displacement(
        chosen=float(chosen_end[known].mean()),
        rejected=float(rejected_end[known].mean()),
        over=f"the training pairs of the last {plural(last, 'logged step')}"
        if last > 1
        else "the training pairs of the only logged step",
    )


def sentences(found: Displacement, *, method: str = "", gap_only: bool = False) -> tuple[str, ...]:
    """Displacement in one or two sentences.

    method: its name. gap_only: its loss sees only the gap of the two log-ratios.

    >>> found = Displacement(chosen=-3.1, rejected=-7.8, over="held-out pairs")
    >>> for sentence in sentences(found, method="dpo", gap_only=True):
    ...     print(sentence)
    On held-out pairs, the chosen answers lost 3.1 nats on average while the rejected lost 7.8:
    both fell, the gap grew by 4.7.
    This is usual for DPO, whose loss sees only the gap; the mass went to other answers.
    """
    opening = (
        f"On {found.over}, the chosen answers {_moved(found.chosen, unit=' nats')} on average "
        f"while the rejected {_moved(found.rejected)}"
    )
    chosen, rejected, gap = (_direction(x) for x in (found.chosen, found.rejected, found.gap))
    change = f"the gap {('shrank', 'did not change', 'grew')[gap + 1]}" + (
        f" by {abs(found.gap):.1f}" if gap else ""
    )
    if chosen == 0 and rejected == 0:
        return (f"{opening}: training hardly moved these answers.",)
    if gap < 0:
        return (
            f"{opening}: {change}, which is the wrong way.",
            "Check that chosen and rejected are not swapped, and try a smaller learning rate.",
        )
    if chosen < 0 and rejected < 0:
        usual = (
            f"This is usual for {method.upper()}, whose loss sees only the gap"
            if gap_only
            else "This is common"
        )
        return (f"{opening}: both fell, {change}.", f"{usual}; the mass went to other answers.")
    if chosen > 0 and rejected > 0:
        return (f"{opening}: both rose, {change}.",)
    return (f"{opening}: {change}.",)


def short(found: Displacement) -> str:
    """Displacement in a few words, for a terminal.

    >>> short(Displacement(chosen=3.1, rejected=7.8, over="held-out pairs"))
    'chosen +3.1 nats, rejected +7.8 nats on held-out pairs: both rose, the gap shrank: wrong way'
    """
    chosen, rejected, gap = (_direction(x) for x in (found.chosen, found.rejected, found.gap))
    both = {(-1, -1): "both fell, ", (1, 1): "both rose, "}.get((chosen, rejected), "")
    change = ("the gap shrank: wrong way", "the gap did not change", "the gap grew")[gap + 1]
    return (
        f"chosen {signed(found.chosen)} nats, rejected {signed(found.rejected)} nats "
        f"on {found.over}: {both}{change}"
    )


def _change(before: Evaluation | None, after: Evaluation, role: str) -> float | None:
    if role == "chosen":
        start, end = before and before.log_prob_chosen, after.log_prob_chosen
        ratio = after.log_ratio_chosen
    else:
        start, end = before and before.log_prob_rejected, after.log_prob_rejected
        ratio = after.log_ratio_rejected
    return ratio if start is None or end is None else end - start


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _direction(value: float) -> int:
    return 0 if abs(value) < STILL else int(math.copysign(1, value))


def _moved(value: float, unit: str = "") -> str:
    if _direction(value) == 0:
        return "hardly moved"
    return f"{'gained' if value > 0 else 'lost'} {abs(value):,.1f}{unit}"
