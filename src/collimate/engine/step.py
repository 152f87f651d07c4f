"""The gradient of one step, whatever its micro-batches: exact, in one pass or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Batch, Example
from collimate.axes import Signal, State
from collimate.compose import Objective
from collimate.engine.evaluate import Autocast, Rows, outputs
from collimate.engine.head import chunk_rows, keeps_logits
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.objective import (
    couples_batch,
    denominators_of,
    objective_value,
)
from collimate.engine.packing import step_batch
from collimate.engine.plan import micro_batches, shares
from collimate.engine.processes import ALONE, Processes
from collimate.engine.similarity import pair_similarity
from collimate.signals import log_prob


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What a step saw: the objective's value, and the whole step as one batch without gradient.

    states: the methods' at its start. similarity: `pair_similarity` of its examples, None unless asked
    for.
    """

    loss: Float[Tensor, ""]
    batch: Batch
    states: Sequence[State]
    similarity: Float[Tensor, "example 2"] | None = None


def gradient_step(
    model: LogProbModel,
    objective: Objective,
    examples: Sequence[Example],
    reference: Rows | None,
    states: Sequence[State],
    *,
    budget: int,
    autocast: Autocast,
    frozen: LogProbModel | None = None,
    processes: Processes = ALONE,
    similarity: bool = False,
) -> StepOutcome:
    """Add the gradient of the objective over `examples` to the parameters' `.grad`.

    reference: per-token log-probs of each example's answers, None for methods without one. budget:
    tokens per micro-batch; it changes no number beyond rounding. frozen: the reference as a model, for
    signals against its logits. similarity: whether to measure that of each pair's answers. Methods
    whose units depend on each other are differentiated over the whole step first (two-pass
    pull-back), then pulled back to the parameters micro-batch by micro-batch. Of several processes
    each computes its share of the examples, and adds its share of the gradient; what the step saw is
    the whole step on all of them.
    """
    signals = signals_of(objective)
    owners = shares(examples, processes.count)
    turns = _turns(model, examples, owners, signals, budget, processes)
    causal = causal_model(model.model)
    dtype = torch.float64 if causal.dtype == torch.float64 else torch.float32
    mine: dict[int, list[Tensor]] = {}  # example -> its values of each signal
    alike: dict[int, Tensor] = {}  # example -> how alike its answers are

    def outputs_of(batch: Sequence[int]) -> tuple[Tensor, ...]:
        chosen = [examples[i] for i in batch]

        def watch(hidden: Tensor) -> None:
            alike.update(zip(batch, pair_similarity(hidden, chosen), strict=True))

        with autocast():
            return outputs(model, chosen, signals, frozen, watch if similarity else None)

    def outcome(loss: Tensor, whole: Batch) -> StepOutcome:
        found = None
        if similarity:
            found = torch.stack(
                _gathered(alike, owners, [2] * len(examples), torch.float64, processes)
            )
        return StepOutcome(loss=loss, batch=whole, states=states, similarity=found)

    if couples_batch(objective):
        for batch, counts in turns:
            with torch.no_grad():
                values = outputs_of(batch)
            if counts:
                mine |= _by_example(examples, batch, values)
        columns = [
            c.requires_grad_() for c in _columns(examples, owners, mine, signals, dtype, processes)
        ]
        whole = _batch(examples, columns, reference, signals)
        loss = objective_value(objective, whole, states)
        slopes = _slopes(loss, whole, signals, examples)
        for batch, counts in turns:
            pulled = [
                (output * torch.cat([slope[i] for i in batch])).sum()
                for output, slope in zip(outputs_of(batch), slopes, strict=True)
            ]
            (torch.stack(pulled).sum() * counts).backward()
        columns = [column.detach() for column in columns]
        return outcome(loss.detach(), _batch(examples, columns, reference, signals))
    data = stand_in(examples, reference, signals, causal.device)
    denominators = denominators_of(objective, data, states)
    for batch, counts in turns:
        chosen = [examples[i] for i in batch]
        values = outputs_of(batch)
        part = _batch(chosen, values, reference and [reference[i] for i in batch], signals)
        (objective_value(objective, part, states, denominators) * counts).backward()
        if counts:
            mine |= _by_example(examples, batch, values)
    columns = _columns(examples, owners, mine, signals, dtype, processes)
    whole = _batch(examples, columns, reference, signals)
    return outcome(objective_value(objective, whole, states), whole)


def _turns(
    model: LogProbModel,
    examples: Sequence[Example],
    owners: Sequence[Sequence[int]],
    signals: Sequence[Signal],
    budget: int,
    processes: Processes,
) -> list[tuple[tuple[int, ...], int]]:
    """This process's micro-batches, and whether each counts (1 or 0).

    Sharded processes take equally many turns; who has fewer computes one example for nothing.
    """
    rows = _kept_rows(model, signals)
    plans = [
        [
            tuple(own[i] for i in batch)
            for batch in micro_batches(
                [examples[i] for i in own], budget, shared=model.shared, answer_tokens=rows
            )
        ]
        for own in owners
    ]
    turns = [(batch, 1) for batch in plans[processes.rank]]
    idle = max(map(len, plans)) - len(turns) if processes.sharded else 0
    shortest = min(range(len(examples)), key=lambda i: examples[i].tokens)
    return turns + [((shortest,), 0)] * idle


def _kept_rows(model: LogProbModel, signals: Sequence[Signal]) -> int | None:
    """The most answer tokens of a micro-batch whose logits the head keeps from forward to backward.

    None where it keeps none, and on a GPU, which would rather compute some again than run short
    micro-batches.
    """
    readout = model.readout()
    if readout.weight.device.type != "cpu" or not keeps_logits(readout, signals):
        return None
    return chunk_rows(readout.weight.shape[0])


def signals_of(objective: Objective) -> tuple[Signal, ...]:
    """What the head computes for it: log-probs first."""
    wanted = [signal for part in objective.parts for signal in part.method.needs.signals]
    return tuple(dict.fromkeys((log_prob, *wanted)))


def _by_example(
    examples: Sequence[Example], batch: Sequence[int], values: Sequence[Float[Tensor, " token"]]
) -> dict[int, list[Float[Tensor, " _"]]]:
    """Each example's values, one tensor per signal, without gradient."""
    sizes = [examples[i].answer_tokens for i in batch]
    columns = [value.detach().split(sizes) for value in values]
    return {i: [column[k] for column in columns] for k, i in enumerate(batch)}


def _columns(
    examples: Sequence[Example],
    owners: Sequence[Sequence[int]],
    mine: Mapping[int, Sequence[Tensor]],
    signals: Sequence[Signal],
    dtype: torch.dtype,
    processes: Processes,
) -> list[Float[Tensor, " token"]]:
    """Each signal over the whole step, from what every process computed."""
    sizes = [example.answer_tokens for example in examples]
    return [
        torch.cat(_gathered({i: v[k] for i, v in mine.items()}, owners, sizes, dtype, processes))
        for k in range(len(signals))
    ]


def _gathered(
    mine: Mapping[int, Float[Tensor, " _"]],
    owners: Sequence[Sequence[int]],
    sizes: Sequence[int],
    dtype: torch.dtype,
    processes: Processes,
) -> list[Float[Tensor, " _"]]:
    """The values of each example, in order, from the process that computed them."""
    parts = processes.gather(
        [mine[i] for i in owners[processes.rank]],
        [[sizes[i] for i in own] for own in owners],
        dtype,
    )
    found = {
        i: part
        for own, values in zip(owners, parts, strict=True)
        for i, part in zip(own, values, strict=True)
    }
    return [found[i] for i in range(len(sizes))]


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
    column = torch.full((sum(example.answer_tokens for example in examples),), -1.0, device=device)
    if reference is not None:
        column = _flat(reference, column)
    return _batch(examples, [column] * len(signals), reference, signals)


def _slopes(
    loss: Tensor, whole: Batch, signals: Sequence[Signal], examples: Sequence[Example]
) -> list[list[Tensor]]:
    """dloss/dsignal per example, zeros for a signal that the loss does not read."""
    columns = [whole.log_prob, *(whole.signals[s.name] for s in signals[1:])]
    gradients = torch.autograd.grad(loss, columns, allow_unused=True)
    sizes = [example.answer_tokens for example in examples]
    return [
        list((torch.zeros_like(c) if g is None else g).split(sizes))
        for c, g in zip(columns, gradients, strict=True)
    ]


def _flat(rows: Rows, like: Tensor) -> Float[Tensor, " token"]:
    flat = np.concatenate([row for answers in rows for row in answers])
    return torch.from_numpy(flat).to(like.device, like.dtype)
