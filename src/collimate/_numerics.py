"""Log-space primitives: exact near zero, finite or honestly infinite far away, never NaN.

Every function is elementwise, keeps its input's dtype, and has a finite gradient wherever its
value is finite. `torch.where` is fed safe inputs on both sides, so that no masked branch leaks
NaN into a gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_SERIES_TERMS = 26  # 2**27 / 27! < 1e-20: float64 is exhausted for |x| <= 2


def log1mexp(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """log(1 - e^x) for x < 0; -inf at 0.  Nats in, nats out.

    Two branches at -log 2, so that neither 1 - e^x nor log(1 - small) loses digits.
    """
    near = x > -math.log(2)
    far_x = torch.where(near, torch.full_like(x, -1.0), x)
    near_x = torch.where(near, x, torch.full_like(x, -1.0))
    return torch.where(near, torch.log(-torch.expm1(near_x)), torch.log1p(-torch.exp(far_x)))


def log_mix_with_one(x: Float[Tensor, "*any"], a: float) -> Float[Tensor, "*any"]:
    """log(1 - a + a·e^x) for 0 < a < 1, relatively exact near x = 0, where it vanishes like a·x."""
    beyond = torch.logaddexp(x + math.log(a), torch.full_like(x, math.log1p(-a)))
    if a <= 0.5:
        tame = (x >= -1) & (x <= 50)
        return torch.where(tame, torch.log1p(a * torch.expm1(_only(tame, x))), beyond)
    near = x.abs() <= 1
    inner = _only(near, x)
    return torch.where(near, inner + torch.log1p((1 - a) * torch.expm1(-inner)), beyond)


def _only(where: Bool[Tensor, "*any"], x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """x where the condition holds, 0 elsewhere."""
    return torch.where(where, x, torch.zeros_like(x))


def absolute_difference(
    log_a: Float[Tensor, "*any"], log_b: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """|a - b| from log a and log b, with the digits that the difference of their logs keeps."""
    vanishes = (log_a == -math.inf) | (log_b == -math.inf)
    v = torch.where(vanishes, torch.zeros_like(log_a), log_a - log_b)
    larger = torch.maximum(log_a, log_b).exp()
    return torch.where(vanishes, larger, larger * -torch.expm1(-v.abs()))


def kl_term(log_a: Float[Tensor, "*any"], log_b: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """a·log(a/b) - a + b >= 0 from log a and log b: one term of KL(a‖b), whose sum is the KL.

    The correction b - a sums to zero over two distributions and makes every term non-negative,
    so a sum of terms needs no clamp. At a = 0 the term is b; at b = 0 it is +inf, unless a = 0.
    """
    a, b = log_a.exp(), log_b.exp()
    a_vanishes, b_vanishes = log_a == -math.inf, log_b == -math.inf
    v = torch.where(a_vanishes | b_vanishes, torch.zeros_like(a), log_b - log_a)
    term = torch.where(a_vanishes, b, kl_term_at(a, b, v))
    return torch.where(b_vanishes & ~a_vanishes, torch.full_like(term, math.inf), term)


def kl_term_at(
    a: Float[Tensor, "*any"], b: Float[Tensor, "*any"], v: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """a·(e^v - 1 - v) for finite v = log(b/a), which keeps digits that a and b have lost.

    Equals b - a·(1 + v), taken from its series where that difference would cancel.
    """
    near = v.abs() <= 1
    series = a * expm1_minus(torch.where(near, v, torch.zeros_like(v)))
    return torch.where(near, series, b - a * (1 + v))


def expm1_minus(x: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """e^x - 1 - x for |x| <= 2, by its Taylor series in Horner form; its slope is e^x - 1."""
    return _Expm1Minus.apply(x)


class _Expm1Minus(torch.autograd.Function):
    """The series keeps x alone for its backward pass, where autograd would keep every partial sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        total = torch.ones_like(x)
        for n in range(_SERIES_TERMS, 2, -1):
            total.mul_(x / n).add_(1)
        return total.mul_(x * x / 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * torch.expm1(x)


def exp_mixture(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"], a: float
) -> Float[Tensor, "*any"]:
    """p^(1-a)·q^a for finite log p and log q, the exponent formed in float64 where the device has it.

    An exponent of 40 rounded to float32 is off by 2e-6, and so would the exponential be.
    """
    if log_p.device.type == "mps":
        return torch.exp((1 - a) * log_p + a * log_q)
    return torch.exp((1 - a) * log_p.double() + a * log_q.double()).to(log_p.dtype)
