"""The standard Jensen-Shannon divergence."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import kl_term_at, log1mexp, log_mix_with_one
from collimate.divergences.f_divergence import FDivergence


def _perspective(
    log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    p, q = log_p.exp(), log_q.exp()
    one_vanishes = (log_p == -math.inf) | (log_q == -math.inf)
    u = torch.where(one_vanishes, torch.zeros_like(p), log_p - log_q)
    m = p / 2 + q / 2
    # log(m/p) and log(m/q) come from u alone, so that they keep their digits near p = q.
    to_p = kl_term_at(p, m, log_mix_with_one(-u, 0.5))
    to_q = kl_term_at(q, m, log_mix_with_one(u, 0.5))
    return torch.where(one_vanishes, m * math.log(2), to_p / 2 + to_q / 2)


def _f_prime(u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -log_mix_with_one(-u, 0.5) / 2


def _inverse(s: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return _inverse_below((math.log(2) / 2 - s).clamp(min=0))


def _inverse_below(gap: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -2 * gap - log1mexp(-2 * gap)


jensen_shannon = FDivergence(
    name="jensen_shannon",
    perspective=_perspective,
    f_prime=_f_prime,
    log_f_prime_inverse=_inverse,
    slope_at_zero=-math.inf,
    slope_at_infinity=math.log(2) / 2,
    inverse_below_slope=_inverse_below,
    source="lin:91",
)
"""½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2, in nats: f' = ½ log(2t/(1 + t)), f''(1) = ¼.

Range [0, log 2]. The f-DPO paper's Jensen-Shannon is twice this one: `methods.f_dpo_js`.
Source: lin:91.
"""
