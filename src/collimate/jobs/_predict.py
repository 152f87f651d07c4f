"""Time and memory of a run before it starts: counted work over a measured speed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from collimate._types import Example
from collimate.axes import Signal
from collimate.engine.model import causal_model
from collimate.engine.sizes import run_sizes, weight_bytes
from collimate.signals import log_prob

SHARE_OF_LIMIT = 0.5
"""Useful work as a share of the best matrix products, which the engine reaches: 0.46 to 0.62."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What training on a data set would take.

    parameters, trainable: of the model. sizes: bytes of weights, gradients, optimizer, activations;
    memory: their sum. steps: of the run. work: floating-point operations. speed: of a float32
    matrix product here, per second. seconds: the estimate, within a factor of two where speed is a
    CPU's.
    """

    parameters: int
    trainable: int
    sizes: Mapping[str, int]
    memory: int
    device: str
    steps: int
    work: float
    speed: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)


def predict(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    epochs: float,
    batch_size: int,
    tokens_per_micro_batch: int,
    recompute: bool = False,
    optimizer: str = "adamw",
    quantize: str | None = None,
    signals: Sequence[Signal] = (log_prob,),
    keeps_reference: bool = False,
) -> Prediction:
    """Time and memory of a run with a reference. `model` may be on the meta device.

    A step forward costs 2 operations per token and weight, a step backward twice that; adapters
    save the half of it that goes to frozen weights; activation checkpointing (recompute) costs a
    forward more. The head is paid for answer tokens only. The reference is one pass over the data.
    signals: that the head computes, and keeps_reference: as a model beside the policy; memory alone
    counts them.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    body, head = _weights(model)
    config = causal_model(model).config.get_text_config()
    attended = 4.0 * config.num_hidden_layers * _width(config)
    tokens = sum(example.tokens for example in examples)
    answered = sum(example.answer_tokens for example in examples)
    visible = sum(map(_visible, examples))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    parameters = sum(p.numel() for p in model.parameters())
    forward = 2.0 * body * tokens + attended * visible
    backward = forward * ((2.0 if trainable == parameters else 1.2) + recompute)
    answers = 2.0 * head * answered
    trained = (
        3.0 if trainable == parameters else 2.0
    )  # times forward: a frozen head has no gradient
    once = forward + answers
    work = once + epochs * (forward + backward + trained * answers)
    speed = _speed(device)
    longest = max(example.tokens for example in examples)
    sizes = run_sizes(
        model,
        tokens=max(longest, tokens_per_micro_batch),
        recompute=recompute,
        optimizer=optimizer,
        quantize=quantize,
        signals=signals,
    )
    if keeps_reference:
        sizes = {**sizes, "reference": weight_bytes(model)}
    return Prediction(
        parameters=parameters,
        trainable=trainable,
        sizes=dict(sizes),
        memory=sum(sizes.values()),
        device=device,
        steps=max(1, math.ceil(epochs * math.ceil(len(examples) / batch_size))),
        work=work,
        speed=speed,
        seconds=work / (SHARE_OF_LIMIT * speed),
    )


def _weights(model: nn.Module) -> tuple[int, int]:
    """Numbers of weights that every token meets, and of the head."""
    causal: Any = causal_model(model)
    embedding = causal.get_input_embeddings().weight
    head = causal.get_output_embeddings().weight
    tables = {id(embedding): embedding.numel(), id(head): head.numel()}
    return sum(p.numel() for p in model.parameters()) - sum(tables.values()), head.numel()


def _width(config: Any) -> int:
    heads = getattr(config, "num_attention_heads", 0) or 0  # 0: a model without attention
    size = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
    return size * heads


def _visible(example: Example) -> float:
    """Pairs of positions that attend to each other: the prompt once, each answer to all before it."""
    prompt = len(example.prompt)
    pairs = prompt * (prompt + 1) / 2
    for answer in example.answers:
        length = len(answer.ids)
        pairs += length * prompt + length * (length + 1) / 2
    return pairs


def _speed(device: str, size: int = 1024, seconds: float = 0.25) -> float:
    """Operations per second of the best float32 matrix product within a quarter of a second."""
    a = torch.ones(size, size, device=device)
    best, start = math.inf, time.perf_counter()
    while time.perf_counter() - start < seconds:
        began = time.perf_counter()
        torch.mm(a, a)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best
