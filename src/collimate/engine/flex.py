"""Attention over a whole row in one call of FlexAttention, for GPUs.

In pieces (`attention`) it is a call for each prompt and answer. The same row, the same visibility,
written once as a function of two positions; torch skips blocks in which no pair is visible. On a
GPU the call is compiled; elsewhere torch computes all scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from collimate.engine.packing import Span

Visible = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Whether a query sees a key: (row, head, query's place, key's place) -> truth."""


class FlexRow:
    """One row of examples whose answers share their prompts, attended in one call.

    positions: of each token in the sequence that its answer would be on its own. A query sees a key
    of its own piece or of its example's prompt, at an earlier place or its own, within the window.
    """

    def __init__(self, spans: Sequence[Span], positions: Int[Tensor, " token"]) -> None:
        sizes, prompts = [], []
        for span in spans:
            prompts += [len(sizes)] * (1 + len(span.answers))
            sizes += [span.prompt[1], *(size for _, size in span.answers)]
        lengths = torch.tensor(sizes)

        def of_tokens(pieces: Int[Tensor, " piece"]) -> Int[Tensor, " token"]:
            return torch.repeat_interleave(pieces, lengths).to(positions.device)

        self._piece = of_tokens(torch.arange(len(sizes)))
        self._prompt = of_tokens(torch.tensor(prompts))
        self._position = positions
        self._masks: dict[int | None, BlockMask] = {}

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
        """Attention in one call; see `attention.Row`. There is no dropout: it must be 0."""
        assert not dropout, "FlexAttention has no dropout"
        (attend, _) = _calls(query.device.type)
        return attend(
            query,
            key,
            value,
            score_mod=None if softcap is None else _capped(softcap),
            block_mask=self.mask(window),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )

    def mask(self, window: int | None) -> BlockMask:
        """Which blocks of queries and keys see each other, under a window; made once for all layers."""
        if window not in self._masks:
            width = len(self._piece)
            (_, blocks) = _calls(self._piece.device.type)
            self._masks[window] = blocks(
                self.visible(window), None, None, width, width, device=self._piece.device
            )
        return self._masks[window]

    def visible(self, window: int | None) -> Visible:
        """Visibility under a window (None: unlimited), as FlexAttention asks for it.

        It counts the arguments of what it is given: no check of types may wrap that.
        """
        piece, prompt, position = self._piece, self._prompt, self._position

        @no_type_check
        def within_example(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            seen = (piece[key] == piece[query]) | (piece[key] == prompt[query])
            return seen & (query >= key)

        @no_type_check
        def within_window(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            near = position[query] - position[key] < window
            return within_example(row, head, query, key) & near

        return within_example if window is None else within_window


def _capped(softcap: float) -> Callable[..., Tensor]:
    @no_type_check
    def score(score: Tensor, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return score


@cache
def _calls(device: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """FlexAttention and its block masks: compiled where that makes a kernel, for rows of any width."""
    if device != "cuda":
        return flex_attention, create_block_mask
    return (
        torch.compile(flex_attention, dynamic=True),
        torch.compile(create_block_mask, dynamic=True),
    )
