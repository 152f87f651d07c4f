"""Numbers of a step and of held-out data; computed only where they are logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Batch, Example
from collimate.axes import State
from collimate.compose import Objective
from collimate.diagnostics import bootstrap_mean, pair_statistics
from collimate.engine.evaluate import Rows
from collimate.engine.objective import objective_value, view_of
from collimate.engine.packing import step_batch


def step_metrics(objective: Objective, batch: Batch, states: Sequence[State]) -> dict[str, float]:
    """Means over the step's pairs (nats), and counts of what methods report as true or false."""
    numbers = {name: value.mean().item() for name, value in pair_statistics(batch.pairs()).items()}
    for part, state in zip(objective.parts, states, strict=True):
        measured = part.method.measure(view_of(batch, part.method.needs), state)
        for name, value in measured.items():
            numbers[name] = (value.sum() if value.dtype is torch.bool else value.mean()).item()
    return numbers


def evaluation(
    objective: Objective,
    states: Sequence[State],
    examples: Sequence[Example],
    policy: Rows,
    reference: Rows | None,
) -> dict[str, Any]:
    """EVAL of docs/run-folder.md: means over held-out pairs, accuracies with 95 % intervals by prompt."""
    batch = step_batch(examples, _flat(policy), None if reference is None else _flat(reference))
    groups = [example.prompt.tobytes() for example in examples]
    record: dict[str, Any] = {
        "rows": len(examples),
        "loss": objective_value(objective, batch, states).item(),
    }
    for name, value in pair_statistics(batch.pairs()).items():
        record[name] = value.mean().item()
        if name.endswith("_accuracy"):
            record[f"{name}_interval"] = list(bootstrap_mean(value.double().numpy(), groups))
    return record


def _flat(rows: Rows) -> Float[Tensor, " token"]:
    return torch.from_numpy(np.concatenate([row for answers in rows for row in answers]))
