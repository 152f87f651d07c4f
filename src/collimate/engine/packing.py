"""From examples to the tensors of one forward pass, and from its outputs to a `Batch`.

Shared layout: one row without padding, `[prompt | answer 1 | answer 2 | …]` for each example; every
answer's positions restart after its prompt, and the attention hides siblings (`Span`s say where
what is). Plain layout: one padded row for each prompt + answer, as any model takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._types import Answer, Batch, Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where one example lies in the row: (start, length) of its prompt and of each answer."""

    prompt: tuple[int, int]
    answers: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """What one forward pass reads.

    ids, positions: [row, width]. filled: real tokens, None where every one is. spans: None in the
    plain layout. select: flat index of the position that predicts each answer token. target: the
    token itself. answer: number of the answer that it belongs to, from 0 on.
    """

    ids: Int[Tensor, "row width"]
    positions: Int[Tensor, "row width"]
    filled: Bool[Tensor, "row width"] | None
    spans: tuple[Span, ...] | None
    select: Int[Tensor, " token"]
    target: Int[Tensor, " token"]
    answer: Int[Tensor, " token"]

    def to(self, device: torch.device) -> Packed:
        """The same on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)


def step_batch(
    examples: Sequence[Example],
    log_prob: Float[Tensor, " token"],
    reference: Float[Tensor, " token"] | None = None,
    signals: Mapping[str, Float[Tensor, " token"]] | None = None,
) -> Batch:
    """The ragged record of examples whose token values are known: one flat column each, in order.

    In the dtype of `log_prob`, on its device.
    """
    dtype, device = log_prob.dtype, log_prob.device
    answers = [answer for example in examples for answer in example.answers]
    lengths = torch.tensor([len(answer.ids) for answer in answers])
    counts = torch.tensor([len(example.answers) for example in examples])
    names = sorted({name for example in examples for name in example.columns})

    def column(values: Sequence[float | int | None]) -> Float[Tensor, " unit"]:
        known = [float("nan") if value is None else float(value) for value in values]
        return torch.tensor(known, dtype=torch.float64).to(device, dtype)

    weights = np.concatenate(list(map(token_weights, answers)))
    return Batch(
        sequence=torch.repeat_interleave(torch.arange(len(answers)), lengths).to(device),
        example=torch.repeat_interleave(torch.arange(len(examples)), counts).to(device),
        label=column([answer.label for answer in answers]),
        score=column([answer.score for answer in answers]),
        role=torch.tensor([int(answer.role) for answer in answers]).to(device),
        token_weight=torch.from_numpy(weights).to(device, dtype),
        columns={name: column([e.columns.get(name) for e in examples]) for name in names},
        log_prob=log_prob,
        reference=reference,
        signals=signals or {},
    )


def pack_shared(examples: Sequence[Example]) -> Packed:
    """One row for all examples, each prompt once, nothing padded."""
    ids: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    select: list[np.ndarray] = []
    spans: list[Span] = []
    start = 0
    for example in examples:
        prompt = len(example.prompt)
        ids.append(example.prompt)
        positions.append(np.arange(prompt))
        first, at = start + prompt, start + prompt
        answers: list[tuple[int, int]] = []
        for answer in example.answers:
            length = len(answer.ids)
            ids.append(answer.ids)
            positions.append(np.arange(prompt, prompt + length))
            select.append(np.concatenate(([first - 1], np.arange(at, at + length - 1))))
            answers.append((at, length))
            at += length
        spans.append(Span(prompt=(start, prompt), answers=tuple(answers)))
        start = at
    return Packed(
        ids=torch.from_numpy(np.concatenate(ids)).long()[None],
        positions=torch.from_numpy(np.concatenate(positions)).long()[None],
        filled=None,
        spans=tuple(spans),
        select=torch.from_numpy(np.concatenate(select)).long(),
        target=_targets(examples),
        answer=_answers(examples),
    )


def pack_plain(examples: Sequence[Example]) -> Packed:
    """One row for each prompt + answer, padded on the right to the longest."""
    rows = [np.concatenate((e.prompt, a.ids)) for e in examples for a in e.answers]
    width = max(len(row) for row in rows)
    ids = np.zeros((len(rows), width), dtype=np.int64)
    filled = np.zeros((len(rows), width), dtype=bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        filled[i, : len(row)] = True
    starts = [len(e.prompt) for e in examples for _ in e.answers]
    select = [
        np.arange(i * width + start - 1, i * width + len(row) - 1)
        for i, (row, start) in enumerate(zip(rows, starts, strict=True))
    ]
    return Packed(
        ids=torch.from_numpy(ids),
        positions=torch.arange(width).expand(len(rows), width).contiguous(),
        filled=torch.from_numpy(filled),
        spans=None,
        select=torch.from_numpy(np.concatenate(select)).long(),
        target=_targets(examples),
        answer=_answers(examples),
    )


def _targets(examples: Sequence[Example]) -> Int[Tensor, " token"]:
    return torch.from_numpy(np.concatenate([a.ids for e in examples for a in e.answers])).long()


def _answers(examples: Sequence[Example]) -> Int[Tensor, " token"]:
    lengths = torch.tensor([len(answer.ids) for example in examples for answer in example.answers])
    return torch.repeat_interleave(torch.arange(len(lengths)), lengths)


def token_weights(answer: Answer) -> Float[np.ndarray, " token"]:
    """Weight of each token in the answer's sum: 1 unless the data says otherwise."""
    if answer.token_weight is None:
        return np.ones(len(answer.ids))
    return answer.token_weight.astype(np.float64)
