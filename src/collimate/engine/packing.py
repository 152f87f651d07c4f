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
class Owners:
    """Who owns which answer token, and what the data says of it; the fields are those of `Batch`."""

    sequence: Int[Tensor, " token"]
    example: Int[Tensor, " sequence"]
    label: Float[Tensor, " sequence"]
    score: Float[Tensor, " sequence"]
    role: Int[Tensor, " sequence"]
    token_weight: Float[Tensor, " token"]
    columns: Mapping[str, Float[Tensor, " example"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """What one forward pass reads, and who owns its answer tokens.

    ids, positions: [row, width]. filled: real tokens, None where every one is. spans: None in the
    plain layout. select: flat index of the position that predicts each answer token. target: the
    token itself.
    """

    ids: Int[Tensor, "row width"]
    positions: Int[Tensor, "row width"]
    filled: Bool[Tensor, "row width"] | None
    spans: tuple[Span, ...] | None
    select: Int[Tensor, " token"]
    target: Int[Tensor, " token"]
    owners: Owners

    def to(self, device: torch.device) -> Packed:
        """The same on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def batch(
        self,
        log_prob: Float[Tensor, " token"],
        reference: Float[Tensor, " token"] | None = None,
        signals: Mapping[str, Float[Tensor, " token"]] | None = None,
    ) -> Batch:
        """The ragged record that methods see, in the dtype of `log_prob`."""
        return _batch(self.owners, log_prob, reference, signals)


def step_batch(
    examples: Sequence[Example],
    log_prob: Float[Tensor, " token"],
    reference: Float[Tensor, " token"] | None = None,
    signals: Mapping[str, Float[Tensor, " token"]] | None = None,
) -> Batch:
    """The batch of examples whose token values are known: one flat column each, in their order."""
    return _batch(_owners(examples), log_prob, reference, signals)


def _batch(
    owners: Owners,
    log_prob: Float[Tensor, " token"],
    reference: Float[Tensor, " token"] | None,
    signals: Mapping[str, Float[Tensor, " token"]] | None,
) -> Batch:
    dtype, device = log_prob.dtype, log_prob.device
    return Batch(
        sequence=owners.sequence.to(device),
        example=owners.example.to(device),
        label=owners.label.to(device, dtype),
        score=owners.score.to(device, dtype),
        role=owners.role.to(device),
        token_weight=owners.token_weight.to(device, dtype),
        columns={name: value.to(device, dtype) for name, value in owners.columns.items()},
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
        owners=_owners(examples),
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
        owners=_owners(examples),
    )


def _targets(examples: Sequence[Example]) -> Int[Tensor, " token"]:
    return torch.from_numpy(np.concatenate([a.ids for e in examples for a in e.answers])).long()


def _owners(examples: Sequence[Example]) -> Owners:
    answers = [answer for example in examples for answer in example.answers]
    lengths = torch.tensor([len(answer.ids) for answer in answers])
    names = sorted({name for example in examples for name in example.columns})
    return Owners(
        sequence=torch.repeat_interleave(torch.arange(len(answers)), lengths),
        example=torch.repeat_interleave(
            torch.arange(len(examples)), torch.tensor([len(e.answers) for e in examples])
        ),
        label=_column([answer.label for answer in answers]),
        score=_column([answer.score for answer in answers]),
        role=torch.tensor([int(answer.role) for answer in answers]),
        token_weight=torch.from_numpy(np.concatenate([_weights(answer) for answer in answers])),
        columns={
            name: _column([example.columns.get(name) for example in examples]) for name in names
        },
    )


def _column(values: Sequence[float | int | None]) -> Float[Tensor, " unit"]:
    known = [float("nan") if value is None else float(value) for value in values]
    return torch.tensor(known, dtype=torch.float64)


def _weights(answer: Answer) -> Float[np.ndarray, " token"]:
    if answer.token_weight is None:
        return np.ones(len(answer.ids))
    return answer.token_weight.astype(np.float64)
