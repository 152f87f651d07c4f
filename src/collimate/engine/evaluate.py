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
) -> Rows:
    """Per-token log-probs of every answer, in the order of `examples`."""
    rows: list[tuple[np.ndarray, ...] | None] = [None] * len(examples)
    for batch in micro_batches(examples, budget, shared=model.shared):
        for i, row in zip(
            batch, _forward(model, [examples[i] for i in batch], autocast), strict=True
        ):
            rows[i] = row
        if progress is not None:
            progress(len(batch))
    return [row for row in rows if row is not None]


def stored_log_probs(
    model: LogProbModel,
    parts: Sequence[Sequence[Example]],
    store: LogProbStore,
    *,
    budget: int,
    autocast: Autocast,
    progress: Progress | None = None,
) -> tuple[list[Rows], int]:
    """The same of each data set through the store, and how many examples had to be computed.

    The micro-batches are fixed by each data set and the budget before the store is looked at, and
    one with a missing row is recomputed whole: a cold, a warm and a half-filled store give the same
    bits. Errors: BadRun if the store has to be written and cannot be.
    """
    computed = 0
    for examples in parts:
        for batch in micro_batches(examples, budget, shared=model.shared):
            keys = [sequence_key(examples[i], a) for i in batch for a in examples[i].answers]
            if any(key not in store for key in keys):
                if not computed:
                    store.require_writable()
                rows = _forward(model, [examples[i] for i in batch], autocast)
                store.add(keys, [row for answers in rows for row in answers])
                computed += len(batch)
            if progress is not None:
                progress(len(batch))
    if computed:
        store.settle()
    columns = [
        [tuple(store[sequence_key(e, a)] for a in e.answers) for e in examples]
        for examples in parts
    ]
    return columns, computed


def _forward(model: LogProbModel, examples: Sequence[Example], autocast: Autocast) -> Rows:
    with torch.inference_mode(), autocast():
        (values,) = model(pack(model, examples))
    flat = values.float().cpu().numpy()
    lengths = [len(answer.ids) for example in examples for answer in example.answers]
    parts = iter(np.split(flat, np.cumsum(lengths)[:-1]))
    return [tuple(next(parts) for _ in example.answers) for example in examples]
