"""Activation checkpointing: a layer keeps its input alone and is computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from collimate._checks import BadModel

Context = Callable[[], AbstractContextManager[Any]]


@contextmanager
def recomputed_layers(backbone: nn.Module, context: Context) -> Iterator[None]:
    """Within the context, calls of the backbone's layers are checkpointed.

    context: what was in force around the call and must be again when a layer is computed a second
    time, after the call has returned: without it the layer would attend as if alone in its row.
    transformers' own checkpointing knows no such context, and is off outside training mode.

    Errors: BadModel if the architecture has no layers that say they can be computed again.
    """
    layers = outermost_layers(backbone)
    if not layers:
        raise BadModel(
            f"{type(backbone).__name__} has no layers that can be computed again: leave out "
            "activation_checkpointing"
        )
    given = [vars(layer).get("forward") for layer in layers]  # of a hook, None for the class's own
    for layer in layers:
        layer.forward = partial(
            checkpoint,
            layer.forward,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), context()),
        )
    try:
        yield
    finally:
        for layer, forward in zip(layers, given, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def outermost_layers(module: nn.Module) -> list[Any]:
    """The layers of a transformers model, none that lies within another."""
    if isinstance(module, GradientCheckpointingLayer):
        return [module]
    return [layer for child in module.children() for layer in outermost_layers(child)]
