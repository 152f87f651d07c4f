"""A reference that follows the policy, weight by weight."""

from __future__ import annotations

import torch
from torch import nn

from collimate.axes import ReferenceUpdate


def move_reference(reference: nn.Module, policy: nn.Module, update: ReferenceUpdate) -> None:
    """q <- alpha·p + (1 - alpha)·q for every weight; the two have the same parameters. No gradient."""
    weights = dict(policy.named_parameters())
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            weight.lerp_(weights[name], update.alpha)
