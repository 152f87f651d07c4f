"""What a run came to, in two to five sentences that follow from its numbers alone."""

from __future__ import annotations

import re

from collimate.report._alarms import alarms
from collimate.report._displacement import displacement, sentences, short
from collimate.report._format import MINUS, accuracy, decimal, duration, plural, share
from collimate.report._record import Evaluation, Interval, Point, RunRecord
from collimate.report._words import Words, words_of


def verdict(record: RunRecord) -> tuple[str, ...]:
    """Two to five sentences: state, held-out accuracies, displacement, distance to the frontier.

    >>> from pathlib import Path
    >>> for sentence in verdict(RunRecord(folder=Path("one"), name="one")): print(sentence)
    The run is still going, with no step logged so far: read what follows as preliminary.
    There is no held-out evaluation, so nothing here says how the model does
    on pairs that it was not trained on.
    """
    state = _state(record)
    ranking = _ranking(record)
    reward = _reward(record)
    moved = _moved(record)
    frontier = _frontier(record)
    if len(state) + len(ranking) + len(reward) + len(moved) + len(frontier) > 5:
        reward = ()  # the first that a reader can do without
    found = (*state, *ranking, *reward, *moved, *frontier)
    if len(found) == 1:
        return (
            *found,
            "No step has been logged either, so there is nothing to say about the training.",
        )
    return found


def summary_lines(record: RunRecord) -> list[str]:
    """Two or three lines for a terminal and one for each alarm, ASCII but for names the user gave.

    >>> from pathlib import Path
    >>> for line in summary_lines(RunRecord(folder=Path("one"), name="one")): print(line)
    one: running, no step logged; no held-out evaluation
    nothing logged says how the chosen and rejected answers moved
    """
    done = _steps(record)
    head = [f"{record.name}: {record.status}", plural(done, "step") if done else "no step logged"]
    if record.method is not None:
        head.insert(1, record.method.name)
    if record.seconds is not None:
        head.append(duration(record.seconds))
    before, after, words = record.before, record.after, words_of(record)
    if after is not None:
        start = f"{_likelihood(before)} -> " if before is not None else ""
        reward = (
            f"reward accuracy {accuracy(after.reward_accuracy, after.reward_accuracy_interval)}"
        )
        figures = (
            f"held-out {reward}, {plural(after.rows, 'row')}"
            if judged_alone(after)
            else f"held-out likelihood accuracy {start}{_likelihood(after)}, {reward}, "
            f"{plural(after.rows, words.unit)}"
        )
    elif before is not None:
        figures = f"held-out likelihood accuracy before training {_likelihood(before)}"
    else:
        figures = "no held-out evaluation"
    found = displacement(record)
    lines = [
        f"{', '.join(head)}; {figures}",
        short(found)
        if found
        else f"nothing logged says how the {words.better} and {words.worse} answers moved",
        *(f"warning: {sentence}" for sentence in alarms(record)),
    ]
    if record.error:
        lines.append(
            f"error: {record.error.strip().splitlines()[-1]}" if record.error.strip() else "error"
        )
    return [_terminal(line) for line in lines]


def _terminal(line: str) -> str:
    """ASCII signs, and no control characters: names come from users, terminals obey escapes."""
    line = (
        line.replace(MINUS, "-")
        .replace("–", "-")
        .replace("…", "...")
        .replace("⁻", "-")
        .replace("×", "x")
    )
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", line)


def _steps(record: RunRecord) -> int:
    if record.steps is not None and record.status in ("finished", "stopped"):
        return record.steps
    return int(record.training.step[-1]) if len(record.training) else 0


def _state(record: RunRecord) -> tuple[str, ...]:
    done = _steps(record)
    after = f"after {plural(done, 'step')}" if done else "before its first step"
    if record.status == "failed":
        reason = (record.error or "").strip()
        end = "" if reason.endswith((".", "!", "?")) else "."
        return (f"The run failed {after}: {reason or 'it did not say why'}{end}",)
    if record.status == "stopped":
        return (f"The run was stopped {after} and can be resumed.",)
    if record.status == "running":
        logged = f"{plural(done, 'step')} done" if done else "no step logged so far"
        return (f"The run is still going, with {logged}: read what follows as preliminary.",)
    return ()


def _likelihood(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return accuracy(None, None)
    return accuracy(evaluation.likelihood_accuracy, evaluation.likelihood_accuracy_interval)


def _ranking(record: RunRecord) -> tuple[str, ...]:
    before, after = record.before, record.after
    if before is None and after is None:
        return (
            "There is no held-out evaluation, so nothing here says how the model does "
            f"on {words_of(record).units} that it was not trained on.",
        )
    if judged_alone(after):
        return ()
    if after is None:
        return (
            f"Before training, held-out likelihood accuracy was {_likelihood(before)}; "
            "there is no evaluation after it.",
        )
    if before is None:
        return (
            f"Held-out likelihood accuracy is {_likelihood(after)} after training; "
            "there is no evaluation before it to compare with.",
        )
    went = f"Held-out likelihood accuracy went from {_likelihood(before)} to {_likelihood(after)}"
    return (went + _compared(before, after, words_of(record)),)


def judged_alone(evaluation: Evaluation | None) -> bool:
    """Whether answers were judged each by itself (thumbs), so that none is likelier than another."""
    return (
        evaluation is not None
        and evaluation.likelihood_accuracy is None
        and evaluation.reward_accuracy is not None
    )


def _compared(before: Evaluation, after: Evaluation, words: Words) -> str:
    old, new = before.likelihood_accuracy_interval, after.likelihood_accuracy_interval
    if old is None or new is None:
        return "."
    if old[0] <= new[1] and new[0] <= old[1]:
        units = plural(after.rows, words.unit) if after.rows else words.units
        return f"; the two 95 % intervals overlap, so these {units} alone do not settle it."
    better = new[0] > old[1]
    return (
        f"; the two 95 % intervals do not overlap: {'a clear gain' if better else 'a clear loss'}."
    )


def _reward(record: RunRecord) -> tuple[str, ...]:
    after = record.after
    if after is None or after.reward_accuracy is None:
        return ()
    text = accuracy(after.reward_accuracy, after.reward_accuracy_interval)
    return (
        f"Implicit-reward accuracy is {text}{_against_chance(after.reward_accuracy_interval)}.",
    )


def _against_chance(interval: Interval | None) -> str:
    if interval is None:
        return " (chance is 0.5)"
    if interval[0] > 0.5:
        return ", above the 0.5 of chance"
    return (
        ", below the 0.5 of chance"
        if interval[1] < 0.5
        else ", not distinguishable from the 0.5 of chance"
    )


def _moved(record: RunRecord) -> tuple[str, ...]:
    found = displacement(record)
    return () if found is None else sentences(found, record.method)


def _frontier(record: RunRecord) -> tuple[str, ...]:
    if record.frontier is None:
        return ()
    points = [point for point in record.frontier.points if point.share_of_gain is not None]
    if not points:
        return ()
    listed = "; ".join(map(_reached, points[:4]))
    return (f"Share of the exact frontier's gain at the same KL: {listed}.",)


def _reached(point: Point) -> str:
    outside = "" if point.outside is None else f" ({share(point.outside)} of mass outside)"
    return f"{point.name} {decimal(point.share_of_gain, 2)}{outside}"
