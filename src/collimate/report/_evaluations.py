"""Held-out figures over the run: which to show, and their table."""

from __future__ import annotations

import numpy as np

from collimate.report._blocks import Table
from collimate.report._format import accuracy, count, decimal, plural, signed
from collimate.report._record import Evaluation, RunRecord
from collimate.report._words import Words

MOST = 20  # evaluations shown: more circles would hide the curve under them

Moments = tuple[tuple[int, Evaluation], ...]


def evaluation_moments(record: RunRecord) -> Moments:
    """(step, figures) by step: before training at 0, those logged, after it at the end."""
    found = dict(record.evaluations)
    if record.before is not None:
        found.setdefault(0, record.before)
    last = record.steps or (int(record.training.step[-1]) if len(record.training) else 0)
    if record.after is not None and last:
        found[last] = record.after
    return tuple(sorted(found.items()))


def spread(moments: Moments) -> Moments:
    """At most `MOST` of the moments, evenly spread, the first and the last among them."""
    if len(moments) <= MOST:
        return moments
    return tuple(moments[i] for i in np.linspace(0, len(moments) - 1, MOST).astype(int).tolist())


def evaluations_table(moments: Moments, words: Words) -> Table:
    """Loss, accuracies and calibration with intervals, and log-ratios at each of the moments shown."""
    shown = spread(moments)
    calibrated = any(e.calibration_error is not None for _, e in shown)
    rows = tuple(
        (
            count(step),
            decimal(e.loss, 3),
            accuracy(e.reward_accuracy, e.reward_accuracy_interval),
            accuracy(e.likelihood_accuracy, e.likelihood_accuracy_interval),
            *((accuracy(e.calibration_error, e.calibration_error_interval),) if calibrated else ()),
            signed(e.log_ratio_chosen, 2),
            signed(e.log_ratio_rejected, 2),
            count(e.rows),
        )
        for step, e in shown
    )
    note = "Log-ratios in nats. Brackets: 95 % bootstrap intervals by prompt."
    if calibrated:
        note += " Calibration error: of sigmoid(implicit reward gap), 10 bins; 0 is none."
    if len(shown) < len(moments):
        note += f" {len(shown)} of {plural(len(moments), 'evaluation')}, evenly spread."
    return Table(
        title="Held-out evaluations",
        columns=(
            "Step",
            "Loss",
            "Reward accuracy",
            "Likelihood accuracy",
            *(("Calibration error",) if calibrated else ()),
            f"Log-ratio, {words.better}",
            f"Log-ratio, {words.worse}",
            words.units.capitalize(),
        ),
        rows=rows,
        note=note,
    )
