"""AdamW whose two moments take a byte each, by bitsandbytes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from collimate._bitsandbytes import load_bitsandbytes, require_runs
from collimate.optim.adamw import parameter_groups

SMALLEST = 4096
"""Parameters with fewer entries keep float32 moments."""

BLOCK = 256
"""Entries that share a scale."""


def adamw_8bit(
    model: nn.Module, *, learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """As `adamw`, but each moment of a parameter of at least `SMALLEST` entries is 8-bit by blocks.

    Source: dettmers:22. Errors: MissingExtra without bitsandbytes.
    """
    groups = parameter_groups(model, weight_decay)
    return load_bitsandbytes().optim.AdamW8bit(
        groups, lr=learning_rate, weight_decay=0.0, min_8bit_size=SMALLEST
    )


def require_adamw_8bit(device: str) -> None:
    """Errors: MissingExtra without bitsandbytes, BadConfig where its 8-bit step does not run."""
    bitsandbytes = load_bitsandbytes()

    def attempt() -> None:
        parameter = nn.Parameter(torch.ones(SMALLEST, device=device))
        parameter.grad = torch.ones_like(parameter)
        bitsandbytes.optim.AdamW8bit([parameter], min_8bit_size=SMALLEST).step()

    require_runs(
        "optimizer adamw_8bit", device, attempt, "leave out --optimizer (AdamW in float32)"
    )


def state_bytes(parameter: Tensor, optimizer: str) -> int:
    """Bytes of both moments of a parameter."""
    if optimizer == "adamw_8bit" and parameter.numel() >= SMALLEST:
        return 2 * (parameter.numel() + 4 * -(-parameter.numel() // BLOCK))
    return 2 * parameter.numel() * parameter.element_size()
