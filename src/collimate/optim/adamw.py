"""AdamW over the trainable parameters of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adamw(
    model: nn.Module, *, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW with torch's betas (0.9, 0.999); weight decay on matrices only, never on biases and norms.

    Source: loshchilov:19. The fused kernel is used where the device has one.
    """
    groups = parameter_groups(model, weight_decay)
    trainable = [parameter for group in groups for parameter in group["params"]]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trainable)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters: matrices with weight decay, vectors without."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
