"""The gradient of one step, whatever its micro-batches: exact, in one pass or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Batch, Example
from collimate.axes import Signal, State
from collimate.compose import Objective
from collimate.engine.evaluate import Autocast, Rows, pack
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.objective import (
    couples_batch,
    denominators_of,
    objective_value,
)
from collimate.engine.packing import step_batch
from collimate.engine.plan import micro_batches
from collimate.signals import log_prob


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What a step saw: the objective's value, and the whole step as one batch without gradient."""

    loss: Float[Tensor, ""]
    batch: Batch


def gradient_step(
    model: LogProbModel,
    objective: Objective,
    examples: Sequence[Example],
    reference: Rows | None,
    states: Sequence[State],
    *,
    budget: int,
    autocast: Autocast,
) -> StepOutcome:
    """Add the gradient of the objective over `examples` to the parameters' `.grad`.

    reference: per-token log-probs of each example's answers, None for methods without one. budget:
    tokens per micro-batch; it changes no number beyond rounding. Methods whose units depend on each
    other are differentiated over the whole step first (two-pass pull-back), then pulled back to
    the parameters micro-batch by micro-batch.
    """
    signals = _signals(objective)
    batches = micro_batches(examples, budget, shared=model.shared)
    values: list[list[Tensor]] = [[torch.empty(0)] * len(examples) for _ in signals]
    if couples_batch(objective):
        for batch in batches:
            with torch.no_grad(), autocast():
                _keep(
                    values,
                    examples,
                    batch,
                    model(pack(model, [examples[i] for i in batch]), signals),
                )
        columns = [torch.cat(column).requires_grad_() for column in values]
        whole = _batch(examples, columns, reference, signals)
        loss = objective_value(objective, whole, states)
        slopes = _slopes(loss, whole, signals, examples)
        for batch in batches:
            with autocast():
                outputs = model(pack(model, [examples[i] for i in batch]), signals)
            pulled = [
                (output * torch.cat([slope[i] for i in batch])).sum()
                for output, slope in zip(outputs, slopes, strict=True)
            ]
            torch.stack(pulled).sum().backward()
        columns = [column.detach() for column in columns]
        return StepOutcome(loss=loss.detach(), batch=_batch(examples, columns, reference, signals))
    device = causal_model(model.model).device
    data = stand_in(examples, reference, signals, device)
    denominators = denominators_of(objective, data, states)
    for batch in batches:
        chosen = [examples[i] for i in batch]
        with autocast():
            outputs = model(pack(model, chosen), signals)
        part = _batch(chosen, outputs, reference and [reference[i] for i in batch], signals)
        objective_value(objective, part, states, denominators).backward()
        _keep(values, examples, batch, outputs)
    whole = _batch(examples, list(map(torch.cat, values)), reference, signals)
    return StepOutcome(loss=objective_value(objective, whole, states), batch=whole)


def _signals(objective: Objective) -> tuple[Signal, ...]:
    wanted = [signal for part in objective.parts for signal in part.method.needs.signals]
    return tuple(dict.fromkeys((log_prob, *wanted)))


def _keep(
    values: list[list[Tensor]],
    examples: Sequence[Example],
    batch: Sequence[int],
    outputs: Sequence[Tensor],
) -> None:
    sizes = [sum(len(answer.ids) for answer in examples[i].answers) for i in batch]
    for kept, output in zip(values, outputs, strict=True):
        for i, part in zip(batch, output.detach().split(sizes), strict=True):
            kept[i] = part


def _batch(
    examples: Sequence[Example],
    columns: Sequence[Float[Tensor, " token"]],
    reference: Rows | None,
    signals: Sequence[Signal],
) -> Batch:
    """The examples as one batch, each signal's values in a column; the first is the log-prob."""
    return step_batch(
        examples,
        columns[0],
        None if reference is None else _flat(reference, columns[0]),
        {s.name: column for s, column in zip(signals[1:], columns[1:], strict=True)},
    )


def stand_in(
    examples: Sequence[Example],
    reference: Rows | None,
    signals: Sequence[Signal],
    device: torch.device,
) -> Batch:
    """The examples before any forward pass: every log-prob -1 or the reference's, data as it is."""
    tokens = sum(len(answer.ids) for example in examples for answer in example.answers)
    column = torch.full((tokens,), -1.0, device=device)
    if reference is not None:
        column = _flat(reference, column)
    return _batch(examples, [column] * len(signals), reference, signals)


def _slopes(
    loss: Tensor, whole: Batch, signals: Sequence[Signal], examples: Sequence[Example]
) -> list[list[Tensor]]:
    """dloss/dsignal per example, zeros for a signal that the loss does not read."""
    columns = [whole.log_prob, *(whole.signals[s.name] for s in signals[1:])]
    gradients = torch.autograd.grad(loss, columns, allow_unused=True)
    sizes = [sum(len(answer.ids) for answer in example.answers) for example in examples]
    return [
        list((torch.zeros_like(c) if g is None else g).split(sizes))
        for c, g in zip(columns, gradients, strict=True)
    ]


def _flat(rows: Rows, like: Tensor) -> Float[Tensor, " token"]:
    flat = np.concatenate([row for answers in rows for row in answers])
    return torch.from_numpy(flat).to(like.device, like.dtype)
