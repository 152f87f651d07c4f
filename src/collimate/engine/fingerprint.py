"""What a model is, as a hash: two models with the same fingerprint give the same log-probs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from collimate._types import Answer, Example
from collimate.engine.model import causal_model, has_adapter

NUMERICS_VERSION = 1
"""Raised whenever the engine's log-probs change beyond rounding: old cached values are then not read."""

# Fields that say how a config was loaded or generates, not what its forward pass computes.
_INERT = {
    "_name_or_path",
    "transformers_version",
    "architectures",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "dtype",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "initializer_range",
    # of adapters
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "init_lora_weights",
    "peft_version",
}


def weights_hash(model: nn.Module) -> str:
    """Hex sha256 of all tensors by name, adapters included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def model_fingerprint(
    model: nn.Module, *, layout: str, precision: str, weights: str | None = None
) -> str:
    """Hex sha256 of weights (adapters included), acting config fields, layout, precision, device kind.

    weights: the model's `weights_hash`, where it is known.
    """
    causal = causal_model(model)
    config = _acting(causal.config.to_dict())
    context = {
        "numerics": NUMERICS_VERSION,
        "class": type(causal).__name__,
        "config": config,
        "attention": causal.config._attn_implementation,
        "layout": layout,
        "precision": precision,
        "device": causal.device.type,
        "adapters": _adapters(model),
        "weights": weights_hash(model) if weights is None else weights,
    }
    return hashlib.sha256(json.dumps(context, sort_keys=True, default=_plain).encode()).hexdigest()


def sequence_key(example: Example, answer: Answer) -> bytes:
    """sha256 of prompt ids, the boundary and answer ids: what a cached row of log-probs belongs to."""
    digest = hashlib.sha256(np.int64(len(example.prompt)).tobytes())
    digest.update(np.ascontiguousarray(example.prompt, dtype=np.int64).tobytes())
    digest.update(np.ascontiguousarray(answer.ids, dtype=np.int64).tobytes())
    return digest.digest()


def column_hash(values: Iterable[np.ndarray | Sequence[float]]) -> str:
    """Hex sha256 of float32 rows in order: the identity of a reference column."""
    digest = hashlib.sha256()
    for row in values:
        digest.update(np.ascontiguousarray(row, dtype=np.float32).tobytes())
    return digest.hexdigest()


def _acting(config: dict[str, Any]) -> dict[str, Any]:
    """The fields that change log-probs; dropout, under whatever name, is off when they are computed."""
    dropout = ("dropout", "pdrop")
    return {k: v for k, v in config.items() if k not in _INERT and not k.endswith(dropout)}


def _adapters(model: nn.Module) -> dict[str, Any]:
    """The active adapters' acting configs: rank and alpha scale weights that are equal otherwise."""
    if not has_adapter(model):
        return {}
    if any(getattr(module, "disable_adapters", None) is True for module in model.modules()):
        return {}
    adapted: Any = model
    return {name: _acting(adapted.peft_config[name].to_dict()) for name in adapted.active_adapters}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().contiguous().cpu().flatten()
    return flat.view(torch.uint8).numpy().data
