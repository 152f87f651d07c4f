"""Numbers of a step and of held-out data; computed only where they are logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Batch, Example, ListLogProbs, PairLogProbs, Role, ThumbLogProbs, View
from collimate.axes import Method, State
from collimate.compose import Objective
from collimate.diagnostics import bootstrap_mean, compared_lists, statistics
from collimate.diagnostics.calibration import (
    calibration_error_interval,
    expected_calibration_error,
    preference_forecasts,
)
from collimate.engine.evaluate import Rows
from collimate.engine.objective import objective_value, view_of
from collimate.engine.packing import step_batch


def step_metrics(objective: Objective, batch: Batch, states: Sequence[State]) -> dict[str, float]:
    """Means over the step's units (nats), and counts of what methods report as true or false."""
    numbers = {
        name: value.mean().item()
        for name, value in statistics(_first_view(objective, batch)).items()
        if len(value)  # a step may hold wanted answers alone
    }
    for part, state in zip(objective.parts, states, strict=True):
        measured = part.method.measure(view_of(batch, part.method.needs), state)
        for name, value in measured.items():
            numbers[name] = (value.sum() if value.dtype is torch.bool else value.mean()).item()
    return numbers


def evaluation(
    objective: Objective,
    states: Sequence[State],
    examples: Sequence[Example],
    policy: Mapping[str, Rows],
    reference: Rows | None,
) -> dict[str, Any]:
    """EVAL of docs/run-folder.md: means over held-out units, accuracies with 95 % intervals by prompt.

    policy: the rows of each signal by name, log_prob among them.
    """
    signals = {name: _flat(rows) for name, rows in policy.items()}
    own = signals.pop("log_prob")
    batch = step_batch(examples, own, None if reference is None else _flat(reference), signals)
    record: dict[str, Any] = {
        "rows": len(examples),
        "loss": objective_value(objective, batch, states).item(),
    }
    view = _first_view(objective, batch)
    groups = [examples[i].prompt.tobytes() for i in _owners(view, batch)]
    for name, value in statistics(view).items():
        if not len(value):
            continue
        record[name] = value.mean().item()
        if name.endswith("_accuracy"):
            record[f"{name}_interval"] = list(bootstrap_mean(value.double().numpy(), groups))
    return {**record, **_calibration(objective.parts[0].method, view, states[0], groups)}


def _calibration(
    method: Method, view: View, state: State, groups: Sequence[bytes]
) -> Mapping[str, float | list[float]]:
    """Of sigmoid(beta·h), the method's own gap of rewards, as a forecast of who is chosen.

    Nothing where no such gap is of one pair alone, or not all of them are finite.
    """
    if not isinstance(view, PairLogProbs) or method.needs.couples == "batch":
        return {}
    gap = method.measure(view, state).get("reward_gap")
    if gap is None or gap.dim() != 1 or not gap.isfinite().all():
        return {}
    forecasts = preference_forecasts(gap, torch.zeros_like(gap))
    both = (forecasts.probability, forecasts.outcome)
    return {
        "calibration_error": expected_calibration_error(*both),
        "calibration_error_interval": list(calibration_error_interval(*both, [*groups, *groups])),
    }


def _first_view(objective: Objective, batch: Batch) -> View:
    return view_of(batch, objective.parts[0].method.needs)


def _owners(view: View, batch: Batch) -> Sequence[int]:
    """The example of each unit that an accuracy counts."""
    if isinstance(view, ThumbLogProbs):
        return batch.example[batch.role == Role.ANSWER].tolist()
    if isinstance(view, ListLogProbs):
        return compared_lists(view).nonzero().squeeze(-1).tolist()
    return range(int(batch.example.max()) + 1)


def _flat(rows: Rows) -> Float[Tensor, " token"]:
    return torch.from_numpy(np.concatenate([row for answers in rows for row in answers]))
