"""Attention over rows in which answers share their prompt.

Registered with transformers under `SHARED`; the model's layers call it with their own queries, keys
and values, so that rotary embeddings, norms and projections stay the model's. Only visible pairs of
positions are computed: no mask of length² is ever made for a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig

from collimate.engine.packing import Span

SHARED = "collimate_shared"


def shared_attention(
    module: nn.Module,
    query: Float[Tensor, "1 head width dim"],
    key: Float[Tensor, "1 key_head width dim"],
    value: Float[Tensor, "1 key_head width value_dim"],
    attention_mask: None,
    *,
    collimate_spans: tuple[Span, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 width head value_dim"], None]:
    """Causal attention in which each answer sees its prompt and itself, never a sibling.

    The first answer continues its prompt, so both are one causal block; each further answer is a
    block of queries over prompt and answer. Window and soft-cap act on distances in the sequence
    that the answer would be on its own.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    options = {"scaling": scaling, "dropout": dropout, "window": sliding_window, "softcap": softcap}
    blocks: list[Tensor] = []
    for span in collimate_spans:
        start, length = span.prompt
        prompt = slice(start, start + length)
        first = slice(start, start + length + span.answers[0][1])
        blocks.append(_attend(query[:, :, first], key[:, :, first], value[:, :, first], **options))
        for at, size in span.answers[1:]:
            own = slice(at, at + size)
            keys = torch.cat((key[:, :, prompt], key[:, :, own]), dim=2)
            values = torch.cat((value[:, :, prompt], value[:, :, own]), dim=2)
            blocks.append(_attend(query[:, :, own], keys, values, **options))
    return torch.cat(blocks, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    query: Float[Tensor, "1 head query dim"],
    key: Float[Tensor, "1 head key dim"],
    value: Float[Tensor, "1 head key value_dim"],
    *,
    scaling: float | None,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> Float[Tensor, "1 head query value_dim"]:
    """Causal attention whose last query is aligned with the last key."""
    queries, keys = query.shape[2], key.shape[2]
    windowed = window is not None and window < keys
    if softcap is None and not windowed and queries == keys:
        return scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling
        )
    visible = _visible(queries, keys, window if windowed else None, query.device)
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout, scale=scaling
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scale / softcap)
    weights = scores.masked_fill(~visible, -torch.inf).softmax(-1, dtype=torch.float32)
    return nn.functional.dropout(weights.to(query.dtype), dropout) @ value


def _visible(
    queries: int, keys: int, window: int | None, device: torch.device
) -> Bool[Tensor, "query key"]:
    at = torch.arange(keys - queries, keys, device=device)[:, None]
    of = torch.arange(keys, device=device)[None, :]
    visible = of <= at
    return visible if window is None else visible & (at - of < window)


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
