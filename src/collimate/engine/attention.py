"""Attention over rows in which answers share their prompt.

Registered with transformers under `SHARED`; the model's layers call it with their own queries, keys
and values, so that rotary embeddings, norms and projections stay the model's. Here a row is attended
piece by piece, long examples one by one, over visible positions only; no mask as wide as the row is
ever made. `flex` has the other way, for GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

from collimate.engine.packing import Span

SHARED = "collimate_shared"
TOGETHER = 64
"""Tokens up to which short examples are attended together under one mask: fewer, larger kernels."""


@runtime_checkable
class Row(Protocol):
    """A row of examples whose answers share their prompts, and a way to attend over it."""

    def attend(
        self,
        query: Float[Tensor, "1 head width dim"],
        key: Float[Tensor, "1 key_head width dim"],
        value: Float[Tensor, "1 key_head width value_dim"],
        *,
        scaling: float | None,
        dropout: float,
        window: int | None,
        softcap: float | None,
    ) -> Float[Tensor, "1 head width value_dim"]:
        """Causal attention of each answer over its prompt and itself.

        scaling: of the scores, None for one over the root of `dim`. window: how many positions a
        query sees, itself counted. softcap s: scores become s·tanh(score / s).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """The queries of one piece of the row, and the pieces whose keys they see.

    bias: [query, key], added to the scores: 0 where a key is seen, -inf elsewhere; None for plain
    causal attention of a piece over itself.
    """

    keys: tuple[int, ...]
    bias: Float[Tensor, "query key"] | None


class SharedRow:
    """One row of examples whose answers share their prompts, cut into pieces once per forward pass.

    lengths: of the pieces, which cover the row in order. A piece is a prompt, an answer, or a
    run of short examples, of at most `together` tokens.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device, together: int) -> None:
        self._groups, self._device = attended_together(spans, together), device
        self._blocks: dict[tuple[int | None, torch.dtype], list[Block]] = {}
        self.lengths = [length for group in self._groups for length in _pieces(group)]

    def blocks(self, window: int | None, dtype: torch.dtype) -> list[Block]:
        """One block for each piece, under an attention window (None: unlimited); biases of `dtype`.

        Made once for all layers: a boolean mask would be turned into a bias in each of them.
        """
        if (window, dtype) not in self._blocks:
            blocks: list[Block] = []
            for group in self._groups:
                blocks.extend(
                    Block(keys=keys, bias=None if visible is None else _bias(visible, dtype))
                    for keys, visible in self._cut(group, len(blocks), window)
                )
            self._blocks[window, dtype] = blocks
        return self._blocks[window, dtype]

    def attend(
        self,
        query: Float[Tensor, "1 head width dim"],
        key: Float[Tensor, "1 key_head width dim"],
        value: Float[Tensor, "1 key_head width value_dim"],
        *,
        scaling: float | None,
        dropout: float,
        window: int | None,
        softcap: float | None,
    ) -> Float[Tensor, "1 head width value_dim"]:
        """Attention piece by piece; see `Row`."""
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        queries, keys, values = (x.split(self.lengths, dim=2) for x in (query, key, value))
        outputs = [
            _attend(
                piece,
                _join(keys, block.keys),
                _join(values, block.keys),
                block.bias,
                scaling=scaling,
                dropout=dropout,
                softcap=softcap,
            )
            for piece, block in zip(queries, self.blocks(window, query.dtype), strict=True)
        ]
        return torch.cat(outputs, dim=2)

    def _cut(
        self, group: Sequence[Span], at: int, window: int | None
    ) -> Iterator[tuple[tuple[int, ...], Bool[Tensor, "query key"] | None]]:
        """The keys of each piece of a group, and which of their positions each query sees."""
        if len(group) > 1:
            yield (at,), self._together(group, window)
            return
        prompt, *answers = _pieces(group)
        yield (at,), self._aligned(prompt, 0, window)
        for i, size in enumerate(answers, start=at + 1):
            yield (at, i), self._aligned(size, prompt, window)

    def _aligned(self, queries: int, before: int, window: int | None) -> Tensor | None:
        """Causal visibility of `queries` that follow `before` further keys."""
        keys = before + queries
        if window is not None and window >= keys:
            window = None
        if window is None and not before:
            return None
        at = torch.arange(before, keys, device=self._device)[:, None]
        of = torch.arange(keys, device=self._device)[None, :]
        return of <= at if window is None else (of <= at) & (at - of < window)

    def _together(self, group: Sequence[Span], window: int | None) -> Tensor:
        pieces = [(i, 0, 0, span.prompt) for i, span in enumerate(group)]
        pieces += [
            (i, branch, span.prompt[1], answer)
            for i, span in enumerate(group)
            for branch, answer in enumerate(span.answers, start=1)
        ]
        pieces.sort(key=lambda piece: piece[3][0])
        lengths = torch.tensor([length for *_, (_, length) in pieces])
        owner, branch, offset = (
            torch.repeat_interleave(torch.tensor([piece[k] for piece in pieces]), lengths)
            for k in range(3)
        )
        within = torch.cat([torch.arange(length) for *_, (_, length) in pieces])
        position, order = offset + within, torch.arange(len(within))
        visible = (owner[:, None] == owner) & (order[:, None] >= order)
        visible &= (branch == 0) | (branch[:, None] == branch)
        if window is not None:
            visible &= position[:, None] - position < window
        return visible.to(self._device)


def shared_attention(
    module: nn.Module,
    query: Float[Tensor, "1 head width dim"],
    key: Float[Tensor, "1 key_head width dim"],
    value: Float[Tensor, "1 key_head width value_dim"],
    attention_mask: None,
    *,
    collimate_row: Row,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 width head value_dim"], None]:
    """Causal attention in which each answer sees its prompt and itself, never a sibling.

    Window and soft-cap act on distances in the sequence that the answer would be on its own.
    """
    output = collimate_row.attend(
        query,
        key,
        value,
        scaling=scaling,
        dropout=dropout,
        window=sliding_window,
        softcap=softcap,
    )
    return output.transpose(1, 2).contiguous(), None


def _attend(
    query: Float[Tensor, "1 head query dim"],
    key: Float[Tensor, "1 head key dim"],
    value: Float[Tensor, "1 head key value_dim"],
    bias: Float[Tensor, "query key"] | None,
    *,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
) -> Float[Tensor, "1 head query value_dim"]:
    if softcap is None:
        return scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias,
            dropout_p=dropout,
            is_causal=bias is None,
            scale=scaling,
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)
    if bias is None:
        bias = _bias(torch.ones_like(scores[0, 0], dtype=torch.bool).tril(), scores.dtype)
    weights = (scores + bias).softmax(-1, dtype=torch.float32)
    return nn.functional.dropout(weights.to(query.dtype), dropout) @ value


def _bias(visible: Bool[Tensor, "query key"], dtype: torch.dtype) -> Float[Tensor, "query key"]:
    return torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)


def _join(pieces: Sequence[Tensor], chosen: tuple[int, ...]) -> Tensor:
    if len(chosen) == 1:
        return pieces[chosen[0]]
    return torch.cat([pieces[i] for i in chosen], dim=2)


def _pieces(group: Sequence[Span]) -> list[int]:
    """Lengths of the pieces of a group: one for a run, prompt and answers for a span on its own."""
    if len(group) > 1:
        return [_end(group[-1]) - group[0].prompt[0]]
    return [group[0].prompt[1], *(size for _, size in group[0].answers)]


def attended_together(spans: Sequence[Span], most: int) -> list[list[Span]]:
    """Runs of neighbours that are at most `most` tokens in all."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and _end(span) - groups[-1][0].prompt[0] <= most:
            groups[-1].append(span)
        else:
            groups.append([span])
    return groups


def _end(span: Span) -> int:
    at, size = span.answers[-1]
    return at + size


@contextmanager
def shared_attention_in(config: PreTrainedConfig) -> Iterator[None]:
    """Within the context, models of this config attend through `shared_attention`."""
    before = config._attn_implementation
    config._attn_implementation = SHARED
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(SHARED, shared_attention)
