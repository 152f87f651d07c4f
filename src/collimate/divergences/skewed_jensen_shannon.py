"""KLs to a mixture: the skewed Kullback-Leibler divergences and their weighted sum."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig, within_closed
from collimate._numerics import expm1_minus, kl_term_at, log_mix_with_one
from collimate._root import rising_inverse
from collimate.divergences.f_divergence import FDivergence
from collimate.divergences.kullback_leibler import forward_kl, reverse_kl


def _scale(w: float, a: float) -> float:
    return w * (1 - a) ** 2 + (1 - w) * a**2


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"], *, w: float, a: float
) -> Float[Tensor, "*any"]:
    p, q = log_p.exp(), log_q.exp()
    p_vanishes, q_vanishes = log_p == -math.inf, log_q == -math.inf
    u = torch.where(p_vanishes | q_vanishes, torch.zeros_like(p), log_p - log_q)
    m = a * q + (1 - a) * p
    term = torch.zeros_like(p)
    if w > 0:  # for 0 times an infinite term would be NaN
        term = term + w * kl_term_at(q, m, log_mix_with_one(u, 1 - a))
    if w < 1:
        term = term + (1 - w) * kl_term_at(p, m, log_mix_with_one(-u, a))
    of_q = q * (w * (a - 1 - math.log(a)) + (1 - w) * a)
    of_p = p * (w * (1 - a) + (1 - w) * (-a - math.log1p(-a)))
    term = torch.where(p_vanishes, of_q, term)
    return torch.where(q_vanishes, of_p, term) / _scale(w, a)


def _f_prime(u: Float[Tensor, "*any"], *, w: float, a: float) -> Float[Tensor, "*any"]:
    """With v = log(a + (1-a)·t) and 1 - 1/M = -expm1(-v): both parts vanish at t = 1 by themselves."""
    v = log_mix_with_one(u, 1 - a)
    rest = -torch.expm1(-v)
    raw = w * (1 - a) * rest + (1 - w) * (-log_mix_with_one(-u, a) - a * rest)
    return raw / _scale(w, a)


def _below(log_x: Float[Tensor, "*any"], *, w: float, a: float) -> Float[Tensor, "*any"]:
    """f'(inf) - f' as a function of log x = log(a/(1-a)) - u."""
    y = torch.logaddexp(log_x, torch.zeros_like(log_x))  # log(1 + x)
    raw = (1 - w) * _less_its_slope(y) + w * (1 - a) / a * -torch.expm1(-y)
    return raw / _scale(w, a)


def _less_its_slope(y: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """y - 1 + e^-y for y >= 0."""
    near = y <= 1
    inner = torch.where(near, y, torch.zeros_like(y))
    return torch.where(near, expm1_minus(-inner), y + torch.expm1(-y))


def _inverse(s: Float[Tensor, "*any"], *, w: float, a: float) -> Float[Tensor, "*any"]:
    slope_at_zero, slope_at_infinity = _slopes(w, a)
    u = rising_inverse(partial(_f_prime, w=w, a=a), s)
    u = torch.where(s >= slope_at_infinity, torch.full_like(u, math.inf), u)
    return torch.where(s <= slope_at_zero, torch.full_like(u, -math.inf), u)


def _inverse_below(gap: Float[Tensor, "*any"], *, w: float, a: float) -> Float[Tensor, "*any"]:
    return math.log(a) - math.log1p(-a) - rising_inverse(partial(_below, w=w, a=a), gap)


def _slopes(w: float, a: float) -> tuple[float, float]:
    """f'(0+) and f'(inf)."""
    at_zero = -math.inf if w < 1 else -((1 - a) ** 2) / a
    at_infinity = w * (1 - a) + (1 - w) * (-math.log1p(-a) - a)
    return at_zero / _scale(w, a), at_infinity / _scale(w, a)


def skewed_jensen_shannon(w: float, a: float) -> FDivergence:
    """[w·KL(q‖m) + (1-w)·KL(p‖m)] / (w·(1-a)² + (1-w)·a²), m = a·q + (1-a)·p: f''(1) = 1.

    w in [0, 1] weighs the two KLs, a in [0, 1] the mixture; w = a is
    `generalized_jensen_shannon(a)`, a = 0 the forward KL, a = 1 the reverse KL. Legal as a
    closed-form margin for w < 1.

    Errors: BadConfig outside the domain, and for w = a = 0 or 1, where nothing is left. Source:
    ko:24; lin:91 (undivided there).

    >>> skewed_jensen_shannon(0.5, 0.5).f(torch.tensor(2.0).log())
    tensor(0.3398)
    """
    within_closed("w", w, 0.0, 1.0)
    within_closed("a", a, 0.0, 1.0)
    return _skewed(f"skewed_jensen_shannon({w:g}, {a:g})", w, a)


def skewed_forward_kl(a: float) -> FDivergence:
    """KL(q‖m)/(1-a)², m = a·q + (1-a)·p, a in [0, 1): a = 0 is the forward KL.

    Bounded by -log a/(1-a)²; f'(0+) is finite for a > 0, so that no margin reads it. Errors:
    BadConfig outside the domain. Source: ko:24 (undivided there; a = 0.1).

    >>> skewed_forward_kl(0.1).name
    'skewed_forward_kl(0.1)'
    """
    within_closed("a", a, 0.0, 1.0)
    return _skewed(f"skewed_forward_kl({a:g})", 1.0, a)


def skewed_reverse_kl(a: float) -> FDivergence:
    """KL(p‖m)/(1-a)², m = a·p + (1-a)·q, a in [0, 1): a = 0 is the reverse KL.

    Bounded by -log a/(1-a)². Errors: BadConfig outside the domain. Source: ko:24 (undivided there;
    a = 0.1).

    >>> skewed_reverse_kl(0.1).name
    'skewed_reverse_kl(0.1)'
    """
    within_closed("a", a, 0.0, 1.0)
    return _skewed(f"skewed_reverse_kl({a:g})", 0.0, 1 - a)


def _skewed(name: str, w: float, a: float) -> FDivergence:
    if _scale(w, a) == 0:
        raise BadConfig(f"{name} compares a distribution with itself: move its parameters apart")
    if a in (0, 1):
        return replace(reverse_kl if a else forward_kl, name=name, source="ko:24; lin:91")
    slope_at_zero, slope_at_infinity = _slopes(w, a)
    mixture = f"({a} + (1 - {a})·t)"  # m/q
    return FDivergence(
        name=name,
        perspective=partial(_perspective, w=w, a=a),
        f_prime=partial(_f_prime, w=w, a=a),
        log_f_prime_inverse=partial(_inverse, w=w, a=a),
        slope_at_zero=slope_at_zero,
        slope_at_infinity=slope_at_infinity,
        inverse_below_slope=partial(_inverse_below, w=w, a=a),
        source="ko:24; lin:91",
        formula=(
            f"({w}·(1 - {a})·(1 - 1/{mixture})"
            f" + (1 - {w})·(log(t/{mixture}) - {a}·(1 - 1/{mixture})))/{_scale(w, a)}"
        ),
    )
