"""What a run will take, said beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from collimate.axes import Signal
from collimate.engine.head import CHUNK_BYTES, chunk_rows
from collimate.engine.model import causal_model, vocabulary_of, width_of
from collimate.optim import state_bytes
from collimate.signals import LogProb, log_prob
from collimate.token_masks import FromLayers

_STORED_PER_LAYER = (
    34  # floats kept per token and unit of width in a layer: measured on Llama shapes
)
_CHUNKS_OF_OWN, _CHUNKS_OF_TWO = 8, 24
"""Chunks of logits that autograd holds for a signal of one model, and of two: measured."""


def run_sizes(
    model: nn.Module,
    *,
    tokens: int,
    recompute: bool = False,
    optimizer: str = "adamw",
    quantize: str | None = None,
    signals: Sequence[Signal] = (log_prob,),
) -> Mapping[str, int]:
    """Bytes of weights, gradients, optimiser state (two moments a parameter) and activations.

    tokens: of the largest micro-batch. recompute: whether layers are computed again backward.
    quantize: how a model that is not quantised yet would be. signals: that the head computes; their
    bytes count as activations.
    """
    activations = activation_bytes(model, tokens=tokens, recompute=recompute)
    trainable = [p for p in model.parameters() if p.requires_grad]
    return {
        "weights": weight_bytes(model, quantize=quantize),
        "gradients": sum(p.numel() * p.element_size() for p in trainable),
        "optimizer": sum(state_bytes(p, optimizer) for p in trainable),
        "activations": activations + signal_bytes(model, signals),
    }


def weight_bytes(model: nn.Module, *, quantize: str | None = None) -> int:
    """Bytes of all parameters; of 4-bit ones without their scales, 3 % more.

    quantize: what the frozen linear layers but the head would be turned into: half a byte a weight.
    """
    packed: set[int] = set()
    if quantize is not None:
        head = causal_model(model).get_output_embeddings()
        layers = (m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head)
        packed = {id(layer.weight) for layer in layers if not layer.weight.requires_grad}
    return sum(
        p.numel() // 2 if id(p) in packed else p.numel() * p.element_size()
        for p in model.parameters()
    )


def activation_bytes(model: nn.Module, *, tokens: int, recompute: bool) -> int:
    """An estimate: `_STORED_PER_LAYER` floats per token, layer and unit of width, a chunk of logits.

    With activation checkpointing (recompute) a layer keeps one float, one layer at a time the rest.
    """
    width, layers = width_of(model), causal_model(model).config.get_text_config().num_hidden_layers
    kept = layers + _STORED_PER_LAYER if recompute else layers * _STORED_PER_LAYER
    return 4 * kept * tokens * width + CHUNK_BYTES


def signal_bytes(model: nn.Module, signals: Sequence[Signal]) -> int:
    """An estimate of what signals beyond log-probs take: autograd's copies of a chunk of logits."""
    copies = sum(
        _CHUNKS_OF_OWN if signal.against == "none" else _CHUNKS_OF_TWO
        for signal in signals
        if not isinstance(signal, LogProb | FromLayers)
    )
    vocabulary = vocabulary_of(model)
    return copies * 4 * chunk_rows(vocabulary) * vocabulary
