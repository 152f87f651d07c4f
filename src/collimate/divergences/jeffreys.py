"""Jeffreys' divergence."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import kl_term
from collimate.divergences.f_divergence import FDivergence

_STEPS = 12  # of Newton, which doubles the digits and comes from below: 7 are enough in float64


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    return kl_term(log_p, log_q) + kl_term(log_q, log_p)


def _f_prime(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return u - torch.expm1(-u)


def inverse(s: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """u with u + 1 - e^-u = s: Newton on a concave function, from where one term rules."""
    finite = s.isfinite()
    wanted = torch.where(finite, s, torch.zeros_like(s))
    u = torch.where(wanted < 0, -torch.log1p(wanted.abs()), wanted / 2)
    for _ in range(_STEPS):
        u = u - (_f_prime(u) - wanted) / (1 + torch.exp(-u))
    return torch.where(finite, u, s)


jeffreys = FDivergence(
    name="jeffreys",
    perspective=_perspective,
    f_prime=_f_prime,
    log_f_prime_inverse=inverse,
    slope_at_zero=-math.inf,
    slope_at_infinity=math.inf,
    source="jeffreys:46",
    formula="log(t) + 1 - 1/t",
)
"""KL(p‖q) + KL(q‖p) = Σ (p - q)·u: f(t) = (t - 1)·log t, f' = u + 1 - e^-u, f''(1) = 2.

Range [0, inf], symmetric. Source: jeffreys:46.
"""
