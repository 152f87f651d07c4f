"""Le Cam's divergence, the symmetric chi-square."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import absolute_difference
from collimate.divergences.f_divergence import FDivergence


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """½(p - q)²/(p + q), where |p - q|/(p + q) = tanh(|u|/2) keeps what a square would underflow."""
    neither = (log_p == -math.inf) & (log_q == -math.inf)
    u = torch.where(neither, torch.zeros_like(log_p), log_p - log_q)
    return absolute_difference(log_p, log_q) * torch.tanh(u.abs() / 2) / 2


def _f_prime(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """½ - 2/(t + 1)² = tanh(u/2)·(½ + 1/(t + 1))."""
    return torch.tanh(u / 2) * (0.5 + torch.sigmoid(-u))


def _inverse(s: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    u = torch.log1p(2 * torch.expm1(-torch.log1p(-2 * s.clamp(min=-1.5, max=0.5)) / 2))
    return torch.where(s > -1.5, u, torch.full_like(u, -math.inf))


def _inverse_below(gap: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return (math.log(2) - torch.log(gap)) / 2 + torch.log1p(-torch.sqrt(gap / 2))


le_cam = FDivergence(
    name="le_cam",
    perspective=_perspective,
    f_prime=_f_prime,
    log_f_prime_inverse=_inverse,
    slope_at_zero=-1.5,
    slope_at_infinity=0.5,
    inverse_below_slope=_inverse_below,
    source="lecam:86",
    formula="1/2 - 2/(t + 1)^2",
)
"""½ Σ (p - q)²/(p + q): f(t) = (t - 1)²/(2(t + 1)), f' = ½ - 2/(t + 1)², f''(1) = ½.

Range [0, 1], symmetric. f'(0+) = -3/2 is finite: no margin reads it. Source: lecam:86.
"""
