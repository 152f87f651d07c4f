"""What presets without a reference have in common."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import distributions, divergences, losses, tradeoffs
from collimate.axes import Margin
from collimate.compose import Method


def reference_free(name: str, margin: Margin, *, beta: float, source: str) -> Method:
    """-log sigmoid(beta·h - target) of a margin that compares with no reference."""
    return Method(
        name=name,
        distribution=distributions.offline_pairs(),
        divergence=divergences.none,
        margin=margin,
        loss=losses.logistic,
        tradeoff=tradeoffs.fixed(beta),
        source=source,
    )


def gaps_beyond(
    preferences: Float[Tensor, "context response response"], gamma: float
) -> Float[Tensor, "context response response"]:
    """z that minimises -P·log sigmoid(z - gamma) - (1 - P)·log sigmoid(-z - gamma), pair by pair.

    Its slope is 0 where P/(1 - P) = sigmoid(gamma + z)/sigmoid(gamma - z), a quadratic in e^z:
    z = s/2 + arsinh(e^gamma·sinh(s/2)), s the logit of P. Linear in s at gamma = 0 only.
    """
    half = preferences.logit() / 2
    return half + torch.asinh(math.exp(gamma) * torch.sinh(half))
