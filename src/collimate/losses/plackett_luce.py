"""The likelihood of a ranking."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _plackett_luce(z: Float[Tensor, "*list rank"]) -> Float[Tensor, "*list"]:
    there = z != -math.inf  # NaN is there, and shows
    safe = torch.where(there, z, torch.zeros_like(z))
    ranks = torch.arange(z.shape[-1], device=z.device)
    left = (ranks >= ranks[:, None]) & there[
        ..., None, :
    ]  # [rank, rank that is still to be chosen]
    left = left | (ranks == ranks[:, None])  # a place without an answer chooses itself: it costs 0
    over = torch.where(left, safe[..., None, :], -math.inf).logsumexp(-1)
    return torch.where(there, over - safe, 0.0).sum(-1)


plackett_luce = Loss(
    name="plackett_luce", value=_plackett_luce, formula="ranking(z)", source="rafailov:23 app. A.3"
)
"""Σ_k [log Σ_{j>=k} e^{z_j} - z_k] over the last dimension, best first: -log P(ranking).

The one loss that reads several z: of a list, -inf where it is shorter than the longest. Of two it
is the logistic loss of their gap. Convex. Source: rafailov:23 app. A.3.
"""
