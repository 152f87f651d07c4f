"""What to know before any other number of a run: skipped steps, a flat loss, lost answers."""

from __future__ import annotations

import numpy as np

from collimate.report._flat import flat_loss
from collimate.report._format import count
from collimate.report._record import RunRecord, Training


def alarms(record: RunRecord) -> tuple[str, ...]:
    """Sentences on each thing that puts a run's numbers in doubt; usually none.

    >>> from pathlib import Path
    >>> alarms(RunRecord(folder=Path("one"), name="one"))
    ()
    """
    return (
        *(f"Step {alarm.step}: {alarm.sentence}" for alarm in record.alarms),
        *_skipped(record.training),
        *_flat(record.training),
    )


def _skipped(steps: Training) -> tuple[str, ...]:
    found = np.nan_to_num(steps.skipped_steps)
    if not found.any():
        return ()
    total, first = int(found.max()), count(steps.step[found > 0][0])
    were = "1 step was" if total == 1 else f"{count(total)} steps were"
    return (
        f"{were} skipped, first step {first}: loss or gradient was not finite, and the weights stayed "
        "as they were. metrics.jsonl names the rows; try a smaller learning rate, or leave them out.",
    )


def _flat(steps: Training) -> tuple[str, ...]:
    rates = steps.learning_rate[np.isfinite(steps.learning_rate)]
    if not len(rates):
        return ()
    found = flat_loss(steps.loss, steps.gradient_norm, steps.learning_rate, peak=float(rates.max()))
    return () if found is None else (found,)
