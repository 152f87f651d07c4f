"""What a run will take, said beforehand."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from collimate.engine.head import CHUNK_BYTES
from collimate.engine.model import causal_model, width_of
from collimate.optim import state_bytes

_STORED_PER_LAYER = (
    34  # floats kept per token and unit of width in a layer: measured on Llama shapes
)


def run_sizes(
    model: nn.Module, *, tokens: int, recompute: bool = False, optimizer: str = "adamw"
) -> Mapping[str, int]:
    """Bytes of weights, gradients, optimiser state (two moments a parameter) and activations.

    tokens: of the largest micro-batch. recompute: whether layers are computed again backward.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    return {
        "weights": weight_bytes(model),
        "gradients": sum(p.numel() * p.element_size() for p in trainable),
        "optimizer": sum(state_bytes(p, optimizer) for p in trainable),
        "activations": activation_bytes(model, tokens=tokens, recompute=recompute),
    }


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters; of 4-bit ones without their scales, 2 % more."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def activation_bytes(model: nn.Module, *, tokens: int, recompute: bool) -> int:
    """An estimate: `_STORED_PER_LAYER` floats per token, layer and unit of width, a chunk of logits.

    With activation checkpointing (recompute) a layer keeps one float, one layer at a time the rest.
    """
    width, layers = width_of(model), causal_model(model).config.get_text_config().num_hidden_layers
    kept = layers + _STORED_PER_LAYER if recompute else layers * _STORED_PER_LAYER
    return 4 * kept * tokens * width + CHUNK_BYTES
