"""Log-probs without gradient: scoring, the reference column, held-out measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

from collimate._types import Example
from collimate.engine.fingerprint import sequence_key
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.packing import Packed, pack_plain, pack_shared
from collimate.engine.plan import micro_batches
from collimate.engine.processes import ALONE, Processes
from collimate.engine.store import LogProbStore

Progress = Callable[[int], None]
Autocast = Callable[[], AbstractContextManager[object]]
Rows = list[tuple[np.ndarray, ...]]
"""For each example, one float32 array [token] per answer."""


def pack(model: LogProbModel, examples: Sequence[Example]) -> Packed:
    """The layout of `model`, on its device."""
    packed = pack_shared(examples) if model.shared else pack_plain(examples)
    return packed.to(causal_model(model.model).device)


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

    def compute(batch: Sequence[int]) -> Rows:
        return _forward(model, [examples[i] for i in batch], autocast)

    batches = micro_batches(examples, budget, shared=model.shared)
    return _in_turns(compute, batches, examples, progress, processes)


def stored_log_probs(
    model: LogProbModel,
    examples: Sequence[Example],
    store: LogProbStore,
    *,
    budget: int,
    autocast: Autocast,
    progress: Progress | None = None,
    processes: Processes = ALONE,
) -> tuple[Rows, int]:
    """The same through the store, and how many examples had to be computed.

    The micro-batches are fixed by data and budget before the store is looked at, and one with a
    missing row is recomputed whole: a cold, a warm and a half-filled store give the same bits. Each
    process looks into its own store and writes segments of its own; all then read the same values.
    """
    computed = 0

    def compute(batch: Sequence[int]) -> Rows:
        nonlocal computed
        keys = [[sequence_key(examples[i], a) for a in examples[i].answers] for i in batch]
        flat = [key for answers in keys for key in answers]
        if any(key not in store for key in flat):
            rows = _forward(model, [examples[i] for i in batch], autocast)
            store.add(flat, [row for answers in rows for row in answers])
            computed += len(batch)
        return [tuple(store[key] for key in answers) for answers in keys]

    batches = micro_batches(examples, budget, shared=model.shared)
    rows = _in_turns(compute, batches, examples, progress, processes)
    store.flush()
    return rows, processes.total(computed)


def _in_turns(
    compute: Callable[[Sequence[int]], Rows],
    batches: Sequence[tuple[int, ...]],
    examples: Sequence[Example],
    progress: Progress | None,
    processes: Processes,
) -> Rows:
    """The rows of all micro-batches, which the processes take in turn."""
    mine: Rows = []
    for start in range(0, len(batches), processes.count):
        turn = batches[start : start + processes.count]
        if processes.rank < len(turn):
            mine.extend(compute(turn[processes.rank]))
        elif processes.sharded:
            compute(turn[0])  # for nothing: the others need this process's part of the weights
        if progress is not None:
            progress(sum(map(len, turn)))
    owners = [
        [i for batch in batches[rank :: processes.count] for i in batch]
        for rank in range(processes.count)
    ]
    found: dict[int, tuple[np.ndarray, ...]] = {}
    sizes = [[len(a.ids) for i in own for a in examples[i].answers] for own in owners]
    flat = [torch.from_numpy(row).to(processes.device) for answers in mine for row in answers]
    for own, parts in zip(owners, processes.gather(flat, sizes), strict=True):
        arrays = iter([part.cpu().numpy() for part in parts])
        found |= {i: tuple(next(arrays) for _ in examples[i].answers) for i in own}
    return [found[i] for i in range(len(examples))]


def _forward(model: LogProbModel, examples: Sequence[Example], autocast: Autocast) -> Rows:
    # No inference mode: weights that FSDP2 puts together in it could not be trained afterwards.
    with torch.no_grad(), autocast():
        (values,) = model(pack(model, examples))
    flat = values.float().cpu().numpy()
    lengths = [len(answer.ids) for example in examples for answer in example.answers]
    parts = iter(np.split(flat, np.cumsum(lengths)[:-1]))
    return [tuple(next(parts) for _ in example.answers) for example in examples]
