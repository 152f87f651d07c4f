"""The alpha family, in f-DPO's parametrisation."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig
from collimate._numerics import exp_mixture, kl_term
from collimate.divergences.f_divergence import FDivergence

_SERIES_TERMS = 26  # 1 / 26! < 1e-26, times at most 26: float64 is exhausted for |c·u| <= 1


def _f_prime(u: Float[Tensor, "*any"], *, a: float) -> Float[Tensor, "*any"]:
    return -torch.expm1(-a * u) / a if a else u


def _inverse(s: Float[Tensor, "*any"], *, a: float) -> Float[Tensor, "*any"]:
    return -torch.log1p((-a * s).clamp(min=-1)) / a if a else s


def _inverse_below(gap: Float[Tensor, "*any"], *, a: float) -> Float[Tensor, "*any"]:
    return -torch.log(a * gap) / a


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"], *, a: float
) -> Float[Tensor, "*any"]:
    """[(1-a)·p + a·q - p^(1-a)·q^a] / (a·(1-a)), continuous in a; swaps p and q under a -> 1-a."""
    if a > 0.5:
        log_p, log_q, a = log_q, log_p, 1 - a
    if a == 0:
        return kl_term(log_p, log_q)
    c = 1 - a
    p, q = log_p.exp(), log_q.exp()
    p_vanishes, q_vanishes = log_p == -math.inf, log_q == -math.inf
    either = p_vanishes | q_vanishes
    u = torch.where(either, torch.zeros_like(p), log_p - log_q)
    near = u.abs() * max(1.0, c) <= 1
    series = q * _series(torch.where(near, u, torch.zeros_like(u)), c)
    # q + p·(f'(u) - 1), without 0·inf: f' itself where a·u is small, one exponential elsewhere.
    mild = (a * u).abs() <= 1
    slope = _f_prime(torch.where(mild, u, torch.zeros_like(u)), a=a)
    zero = torch.zeros_like(p)
    power = exp_mixture(torch.where(either, zero, log_p), torch.where(either, zero, log_q), a)
    far = torch.where(mild, q + p * (slope - 1), q + p * (c / a) - power / a) / c
    overflows = ~mild & (torch.isinf(p) | torch.isinf(power))
    far = torch.where(overflows, torch.full_like(far, math.inf), far)
    term = torch.where(near, series, far)
    term = torch.where(p_vanishes, q / c, term)
    at_infinity = p / a if a > 0 else torch.full_like(p, math.inf)
    return torch.where(q_vanishes, torch.where(p_vanishes, q, at_infinity), term)


def _series(u: Float[Tensor, "*any"], c: float) -> Float[Tensor, "*any"]:
    """f(e^u) = Σ_{n>=2} u^n/n!·(1 + c + ... + c^(n-2)), c = 1 - a: no difference is ever taken."""
    total, power, geometric = torch.zeros_like(u), u, 0.0
    for n in range(2, _SERIES_TERMS):
        power, geometric = power * u / n, 1 + c * geometric
        total = total + power * geometric
    return total


def alpha(a: float) -> FDivergence:
    """The alpha-divergence with f' = (1 - t^-a)/a: [1 - Σ p^(1-a)·q^a]/(a·(1-a)) nats.

    f''(1) = 1 for every a; a = 0 is the reverse KL, a = 1 the forward KL, a = ½ four times the
    squared Hellinger distance. Any real a is a divergence; a >= 0 is legal as a closed-form margin.

    Args: a, finite. Errors: BadConfig if it is not. Source: wang:24 table 1 (0 < a < 1 there).

    >>> from collimate.divergences import alpha
    >>> alpha(0.5).exact(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log())
    tensor(0.4223)
    """
    if isinstance(a, bool) or not math.isfinite(a):
        raise BadConfig(f"alpha needs a finite number a, got {a!r}")
    return FDivergence(
        name=f"alpha({a:g})",
        perspective=partial(_perspective, a=a),
        f_prime=partial(_f_prime, a=a),
        log_f_prime_inverse=partial(_inverse, a=a),
        slope_at_zero=-math.inf if a >= 0 else 1 / a,
        slope_at_infinity=1 / a if a > 0 else math.inf,
        inverse_below_slope=partial(_inverse_below, a=a) if a > 0 else None,
        source="wang:24 table 1",
        formula=f"(1 - t^{-a})/{a}" if a else "log(t)",
    )
