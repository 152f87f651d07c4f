"""What to try next: sentences that follow from a run's numbers, the most pressing first."""

from __future__ import annotations

import math

from collimate.report._displacement import displacement
from collimate.report._evaluations import evaluation_moments
from collimate.report._format import number, plural, share
from collimate.report._record import Evaluation, RunRecord
from collimate.report._words import PAIRS, words_of

MOST = 4
FALLEN = -1.0  # nats: a chosen answer e times less probable than before
RISEN = 0.01  # relative: a held-out loss that is worse by less is no reason to stop earlier
LONGER = 0.6  # share of pairs whose chosen answer is the longer one
CUT = 0.01  # share of rows

KEEP_CHOSEN = ("rpo_sft", "dpop", "cal_dpo")
KNOW_LENGTH = ("r_dpo", "ld_dpo", "simpo")


def what_next(record: RunRecord) -> tuple[str, ...]:
    """At most four sentences, each with the number it follows from; one where nothing calls.

    >>> from pathlib import Path
    >>> for sentence in what_next(RunRecord(folder=Path("one"), name="one", status="finished")):
    ...     print(sentence)
    Give --evaluation a held-out file: without one, nothing tells learning from memorising.
    """
    found = (
        *_state(record),
        *_evaluation(record),
        *_overfitting(record),
        *_displaced(record),
        *_undecided(record),
        *_data(record),
    )
    if not found and record.status == "finished":
        return (
            "Nothing in these numbers calls for a change: repeat with another --seed, "
            "or compare with another method on the same data.",
        )
    return found[:MOST]


def _state(record: RunRecord) -> tuple[str, ...]:
    if record.status == "stopped":
        return ("Go on where it stopped: the same command with --resume.",)
    if record.status == "failed":
        return ("Mend what the error names, then the same command with --resume.",)
    return ()


def _evaluation(record: RunRecord) -> tuple[str, ...]:
    if record.after is not None or record.before is not None or record.evaluations:
        return ()
    if record.config.get("evaluation"):
        return ()
    return (
        "Give --evaluation a held-out file: without one, nothing tells learning from memorising.",
    )


def _overfitting(record: RunRecord) -> tuple[str, ...]:
    losses = [
        (figures.loss, step)
        for step, figures in evaluation_moments(record)
        if figures.loss is not None and math.isfinite(figures.loss)
    ]
    if len(losses) < 3:
        return ()
    (best, step), (last, end) = min(losses), losses[-1]
    if last - best <= RISEN * abs(best) or step == end:
        return ()
    if step == 0:
        return (
            f"Held-out loss rose from {number(best)} to {number(last)}: try a smaller "
            "learning rate or a larger beta.",
        )
    return (
        f"Held-out loss was lowest at step {step} ({number(best)}, now {number(last)}): "
        f"stop there (--max-steps {step}), or try a smaller learning rate.",
    )


def _displaced(record: RunRecord) -> tuple[str, ...]:
    found = displacement(record)
    if found is None or words_of(record) is not PAIRS or found.chosen > FALLEN:
        return ()
    return (
        f"The chosen answers lost {number(-found.chosen)} nats: sort the pairs by displacement to "
        f"see which; {', '.join(KEEP_CHOSEN)} hold their probability up.",
    )


def _undecided(record: RunRecord) -> tuple[str, ...]:
    before, after = record.before, record.after
    if before is None or after is None or not after.rows:
        return ()
    old, new = _interval(before), _interval(after)
    if old is None or new is None or old[1] < new[0] or new[1] < old[0]:
        return ()
    return (
        f"The intervals of {plural(after.rows, 'held-out row')} before and after overlap: four times "
        "as many rows halve them.",
    )


def _interval(figures: Evaluation) -> tuple[float, float] | None:
    return figures.likelihood_accuracy_interval or figures.reward_accuracy_interval


def _data(record: RunRecord) -> tuple[str, ...]:
    data = record.train_data
    if data is None:
        return ()
    found: list[str] = []
    if data.chosen_longer is not None and data.chosen_longer > LONGER:
        found.append(
            f"In {share(data.chosen_longer)} of the pairs the chosen answer is the longer one: "
            f"{', '.join(KNOW_LENGTH)} take length into account."
        )
    if data.used and (data.answers_truncated or 0) > CUT * data.used:
        cut = share((data.answers_truncated or 0) / data.used)
        found.append(f"{cut} of the rows lost the end of an answer: raise --max-answer.")
    skipped = sum(data.skipped.values())
    if data.rows and skipped > CUT * data.rows:
        found.append(
            f"{share(skipped / data.rows)} of the rows were left out: bad_rows.jsonl says why."
        )
    return tuple(found)
