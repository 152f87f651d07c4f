"""Chi-square and KL together: a penalty that reaches where the reference is thin."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import kl_term
from collimate.divergences.alpha import alpha
from collimate.divergences.f_divergence import FDivergence
from collimate.divergences.jeffreys import inverse as jeffreys_inverse

_half_pearson = alpha(-1.0)


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    return _half_pearson.perspective(log_p, log_q) + kl_term(log_p, log_q)


def _f_prime(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return torch.expm1(u) + u


def _inverse(s: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -jeffreys_inverse(-s)  # u + e^u - 1 is Jeffreys' slope seen in a mirror


chi_squared_kl = FDivergence(
    name="chi_squared_kl",
    perspective=_perspective,
    f_prime=_f_prime,
    log_f_prime_inverse=_inverse,
    slope_at_zero=-math.inf,
    slope_at_infinity=math.inf,
    source="huang:25",
    formula="t - 1 + log(t)",
)
"""½ Σ (p - q)²/q + KL(p‖q): f(t) = ½(t - 1)² + t·log t - t + 1, f' = t - 1 + u, f''(1) = 2.

Range [0, inf]. The KL gives f'(0+) = -inf and with it a closed-form margin, the chi-square bounds
over-optimisation. Source: huang:25 (chi-square preference optimisation).
"""
