"""Where the probability of the given answers went, as numbers and in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collimate.report._format import plural, signed
from collimate.report._record import Evaluation, MethodFacts, RunRecord
from collimate.report._words import PAIRS, Words, words_of

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
    words: Words = PAIRS

    @property
    def gap(self) -> float:
        """How much the gap between chosen and rejected grew (nats)."""
        return self.chosen - self.rejected


def displacement(record: RunRecord) -> Displacement | None:
    """The change over held-out pairs, else over the last steps; None if unknown.

    Last steps: a tenth of those logged, five at least, because one step's pairs are few.
    """
    words = words_of(record)
    change = held_out_change(record, record.after) if record.after is not None else None
    if change is not None:
        over = f"held-out {words.units}"
        return Displacement(chosen=change[0], rejected=change[1], over=over, words=words)
    chosen, rejected = drift(record)
    against = ""
    if not record.starts_at_reference:  # the first step is what the others are compared with
        chosen, rejected, against = chosen[1:], rejected[1:], ", against those of the first"
    last = max(len(chosen) // 10, min(len(chosen), 5))
    chosen, rejected = chosen[-last:], rejected[-last:]
    known = np.isfinite(chosen) & np.isfinite(rejected)
    if not known.any():
        return None
    steps = plural(last, "logged step") if last > 1 else "logged step"
    return Displacement(
        chosen=float(chosen[known].mean()),
        rejected=float(rejected[known].mean()),
        over=f"the training {words.units} of the last {steps}{against}",
        words=words,
    )


def held_out_change(record: RunRecord, now: Evaluation) -> tuple[float, float] | None:
    """Change of the held-out log-probs of chosen and rejected since the start (nats), if known.

    Log-prob now less that before training; where there is no evaluation before, the log-ratio now,
    which is the same unless the reference is another model.
    """
    start = record.before
    if start is not None:
        chosen = _less(now.log_prob_chosen, start.log_prob_chosen)
        rejected = _less(now.log_prob_rejected, start.log_prob_rejected)
    elif record.starts_at_reference:
        chosen, rejected = now.log_ratio_chosen, now.log_ratio_rejected
    else:
        return None
    if chosen is None or rejected is None or not math.isfinite(chosen - rejected):
        return None
    return chosen, rejected


def drift(record: RunRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Change of the log-ratios of chosen and rejected since the start (nats), [logged step] each.

    Where the reference is another model, the first logged step's are subtracted: what is left is
    the change of the policy alone, but for the steps' holding different pairs.
    """
    chosen, rejected = record.training.log_ratio_chosen, record.training.log_ratio_rejected
    if record.starts_at_reference:
        return chosen, rejected
    return since_first(chosen), since_first(rejected)


def since_first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` [logged step] less the first finite one."""
    known = values[np.isfinite(values)]
    return values - known[0] if len(known) else values


def sentences(found: Displacement, method: MethodFacts | None = None) -> tuple[str, ...]:
    """Displacement in one or two sentences.

    >>> found = Displacement(chosen=-3.1, rejected=-7.8, over="held-out pairs")
    >>> for sentence in sentences(found):
    ...     print(sentence)
    On held-out pairs, the chosen answers lost 3.1 nats on average while the rejected lost 7.8:
    both fell, the gap grew by 4.7.
    This is common; the mass went to other answers.
    """
    words = found.words
    opening = (
        f"On {found.over}, the {words.better} answers {_moved(found.chosen, unit=' nats')} on "
        f"average while the {words.worse} {_moved(found.rejected)}"
    )
    chosen, rejected, gap = (_direction(x) for x in (found.chosen, found.rejected, found.gap))
    change = f"{words.gap} {('shrank', 'did not change', 'grew')[gap + 1]}" + (
        f" by {abs(found.gap):.1f}" if gap else ""
    )
    if chosen == 0 and rejected == 0:
        return (f"{opening}: training hardly moved these answers.",)
    if gap < 0:
        return (
            f"{opening}: {change}, which is the wrong way.",
            f"Check that {words.mixed_up}, and try a smaller learning rate.",
        )
    if chosen < 0 and rejected < 0:
        usual = (
            f"This is usual for {method.name.upper()}, whose loss sees only the gap"
            if method is not None and _of_the_gap(method)
            else "This is common"
        )
        return (f"{opening}: both fell, {change}.", f"{usual}; the mass went to other answers.")
    if chosen > 0 and rejected > 0:
        return (f"{opening}: both rose, {change}.",)
    return (f"{opening}: {change}.",)


def _of_the_gap(method: MethodFacts) -> bool:
    """Whether its loss sees the two answers through their gap alone."""
    return method.margin == "log_ratio_gap" and not method.composite


def short(found: Displacement) -> str:
    """Displacement in a few words, for a terminal.

    >>> short(Displacement(chosen=3.1, rejected=7.8, over="held-out pairs"))
    'chosen +3.1 nats, rejected +7.8 nats on held-out pairs: both rose, the gap shrank: wrong way'
    """
    chosen, rejected, gap = (_direction(x) for x in (found.chosen, found.rejected, found.gap))
    both = {(-1, -1): "both fell, ", (1, 1): "both rose, "}.get((chosen, rejected), "")
    words = found.words
    change = f"{words.gap} {('shrank: wrong way', 'did not change', 'grew')[gap + 1]}"
    return (
        f"{words.better} {signed(found.chosen)} nats, {words.worse} {signed(found.rejected)} nats "
        f"on {found.over}: {both}{change}"
    )


def _less(now: float | None, start: float | None) -> float | None:
    return None if now is None or start is None else now - start


def _direction(value: float) -> int:
    return 0 if abs(value) < STILL else int(math.copysign(1, value))


def _moved(value: float, unit: str = "") -> str:
    if _direction(value) == 0:
        return "hardly moved"
    return f"{'gained' if value > 0 else 'lost'} {abs(value):,.1f}{unit}"
