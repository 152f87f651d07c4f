"""What a run will take, said beforehand."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from collimate.engine.head import CHUNK_BYTES
from collimate.engine.model import causal_model

_STORED_PER_LAYER = (
    34  # floats kept per token and unit of width in a layer: measured on Llama shapes
)


def run_sizes(model: nn.Module, *, tokens: int) -> Mapping[str, int]:
    """Bytes of weights, gradients, optimiser state (AdamW: two floats a parameter) and activations.

    tokens: of the largest micro-batch. Activations are an estimate: `_STORED_PER_LAYER` floats per
    token, layer and unit of width, and two chunks of logits.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    config = causal_model(model).config
    width = getattr(config, "hidden_size", 0) or getattr(config, "n_embd", 0)
    layers = getattr(config, "num_hidden_layers", 0) or 0
    return {
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": sum(p.numel() * p.element_size() for p in trainable),
        "optimizer": sum(2 * p.numel() * p.element_size() for p in trainable),
        "activations": 4 * _STORED_PER_LAYER * tokens * width * layers + 2 * CHUNK_BYTES,
    }
