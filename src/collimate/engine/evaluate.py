"""Log-probs without gradient: scoring, the reference column, held-out measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from collimate._types import Example
from collimate.axes import Signal
from collimate.engine.fingerprint import sequence_key
from collimate.engine.model import LogProbModel, Watch, causal_model
from collimate.engine.packing import Packed, pack_plain, pack_shared
from collimate.engine.plan import micro_batches
from collimate.engine.processes import ALONE, Processes
from collimate.engine.store import LogProbStore
from collimate.signals import log_prob
from collimate.token_masks import reads_layers

Progress = Callable[[int], None]
Autocast = Callable[[], AbstractContextManager[object]]
Row = tuple[np.ndarray, ...]
"""One float32 array [token] per answer."""
Rows = list[Row]
"""One row per example."""


def pack(model: LogProbModel, examples: Sequence[Example]) -> Packed:
    """The layout of `model`, on its device."""
    packed = pack_shared(examples) if model.shared else pack_plain(examples)
    return packed.to(causal_model(model.model).device)


def outputs(
    model: LogProbModel,
    examples: Sequence[Example],
    signals: Sequence[Signal],
    frozen: LogProbModel | None = None,
    watch: Watch | None = None,
) -> tuple[Float[Tensor, " token"], ...]:
    """One forward pass: each signal of each answer token; `frozen` for those against a reference.

    watch: is shown the hidden states that predict them.
    """
    packed = pack(model, examples)
    if frozen is None or all(signal.against == "none" for signal in signals):
        return model(packed, signals, watch=watch)
    beside = packed if frozen.shared == model.shared else pack(frozen, examples)
    return model(packed, signals, frozen.said(beside, layers=reads_layers(signals)), watch)


def log_probs(
    model: LogProbModel,
    examples: Sequence[Example],
    *,
    budget: int,
    autocast: Autocast,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> Rows:
    """Per-token log-probs of every answer, in the order of `examples`; each is computed once."""
    (rows,) = signal_rows(
        model,
        examples,
        (log_prob,),
        budget=budget,
        autocast=autocast,
        progress=progress,
        processes=processes,
    )
    return rows


def signal_rows(
    model: LogProbModel,
    examples: Sequence[Example],
    signals: Sequence[Signal],
    *,
    budget: int,
    autocast: Autocast,
    frozen: LogProbModel | None = None,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> tuple[Rows, ...]:
    """The same of several signals, one after the other: per-token values of every answer."""
    batches = micro_batches(examples, budget, shared=model.shared)
    mine: list[dict[int, Row]] = [{} for _ in signals]
    for batch, counts, taken in _turns(batches, processes):
        found = _forward(model, [examples[i] for i in batch], autocast, signals, frozen)
        for column, rows in zip(mine, found, strict=True):
            if counts:
                column |= zip(batch, rows, strict=True)
        if progress is not None:
            progress(taken)
    if isinstance(model, FSDPModule):  # else its root stays whole until the next backward pass
        model.reshard()
    return tuple(_exchanged(column, batches, examples, processes) for column in mine)


def stored_log_probs(
    model: LogProbModel,
    parts: Sequence[Sequence[Example]],
    store: LogProbStore,
    *,
    budget: int,
    autocast: Autocast,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> tuple[list[Rows], int]:
    """The same of each data set through the store, and how many examples had to be computed.

    The micro-batches are fixed by each data set and the budget before the store is looked at, and
    one with a missing row is recomputed whole: a cold, a warm and a half-filled store give the same
    bits. Processes that are not sharded share the work: each writes segments of its own, and all go
    on with the same values. Errors: BadRun if the store has to be written and cannot be.
    """
    plans = [micro_batches(examples, budget, shared=model.shared) for examples in parts]
    computed = 0
    for examples, batches in zip(parts, plans, strict=True):
        for batch, _, taken in _turns(batches, processes):
            keys = [sequence_key(examples[i], a) for i in batch for a in examples[i].answers]
            if any(key not in store for key in keys):
                if not computed:
                    store.require_writable()
                (rows,) = _forward(model, [examples[i] for i in batch], autocast, (log_prob,), None)
                store.add(keys, [row for answers in rows for row in answers])
                computed += len(batch)
            if progress is not None:
                progress(taken)
    store.flush()
    everywhere = processes.total(computed)  # also: the others have written what they computed
    if computed:
        store.settle()
    columns: list[Rows] = []
    for examples, batches in zip(parts, plans, strict=True):
        own = [i for batch in batches[processes.rank :: processes.count] for i in batch]
        mine = {
            i: tuple(store[sequence_key(examples[i], a)] for a in examples[i].answers) for i in own
        }
        columns.append(_exchanged(mine, batches, examples, processes))
    return columns, everywhere


def _turns(
    batches: Sequence[tuple[int, ...]], processes: Processes
) -> Iterator[tuple[tuple[int, ...], bool, int]]:
    """This process's micro-batches, whether each counts, and how many examples all take meanwhile.

    One that does not count is computed because the others need this process's part of the weights.
    """
    for start in range(0, len(batches), processes.count):
        turn = batches[start : start + processes.count]
        own = processes.rank < len(turn)
        if own or processes.sharded:
            yield turn[processes.rank if own else 0], own, sum(map(len, turn))


def _exchanged(
    mine: Mapping[int, Row],
    batches: Sequence[tuple[int, ...]],
    examples: Sequence[Example],
    processes: Processes,
) -> Rows:
    """The rows of all examples, from those of each process's micro-batches."""
    if processes.count == 1:
        return [mine[i] for i in range(len(examples))]
    owners = [
        [i for batch in batches[rank :: processes.count] for i in batch]
        for rank in range(processes.count)
    ]
    sizes = [[len(a.ids) for i in own for a in examples[i].answers] for own in owners]
    flat = [
        torch.from_numpy(row).to(processes.device)
        for i in owners[processes.rank]
        for row in mine[i]
    ]
    found: dict[int, Row] = {}
    for own, parts in zip(owners, processes.gather(flat, sizes, torch.float32), strict=True):
        arrays = iter([part.cpu().numpy() for part in parts])
        found |= {i: tuple(next(arrays) for _ in examples[i].answers) for i in own}
    return [found[i] for i in range(len(examples))]


def _forward(
    model: LogProbModel,
    examples: Sequence[Example],
    autocast: Autocast,
    signals: Sequence[Signal],
    frozen: LogProbModel | None,
) -> list[Rows]:
    # No inference mode: weights that FSDP2 puts together in it could not be trained afterwards.
    with torch.no_grad(), autocast():
        columns = outputs(model, examples, signals, frozen)
    lengths = [len(answer.ids) for example in examples for answer in example.answers]
    found: list[Rows] = []
    for column in columns:
        parts = iter(np.split(column.float().cpu().numpy(), np.cumsum(lengths)[:-1]))
        found.append([tuple(next(parts) for _ in example.answers) for example in examples])
    return found
