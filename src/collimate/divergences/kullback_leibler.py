"""Reverse and forward Kullback-Leibler divergence."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import kl_term
from collimate.divergences.f_divergence import FDivergence


def _identity(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return u


def _forward_perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    return kl_term(log_q, log_p)


def _forward_f_prime(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -torch.expm1(-u)


def _forward_inverse(s: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -torch.log1p(-s.clamp(max=1))  # +inf from the slope at infinity on


def _forward_inverse_below(gap: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -torch.log(gap)


reverse_kl = FDivergence(
    name="reverse_kl",
    perspective=kl_term,
    f_prime=_identity,
    log_f_prime_inverse=_identity,
    slope_at_zero=-math.inf,
    slope_at_infinity=math.inf,
    source="kullback:51",
    formula="log(t)",
)
"""KL(p‖q) = Σ p·(log p - log q) in nats: f(t) = t log t - t + 1, f' = u, f''(1) = 1.

Range [0, inf]. p the policy, q the reference. Source: kullback:51.
"""

forward_kl = FDivergence(
    name="forward_kl",
    perspective=_forward_perspective,
    f_prime=_forward_f_prime,
    log_f_prime_inverse=_forward_inverse,
    slope_at_zero=-math.inf,
    slope_at_infinity=1.0,
    inverse_below_slope=_forward_inverse_below,
    source="kullback:51",
    formula="1 - 1/t",
)
"""KL(q‖p) = Σ q·(log q - log p) in nats: f(t) = -log t + t - 1, f' = 1 - e^-u, f''(1) = 1.

Range [0, inf]. p the policy, q the reference. Source: kullback:51.
"""
