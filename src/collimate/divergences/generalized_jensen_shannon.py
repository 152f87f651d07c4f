"""Jensen-Shannon with any mixing weight, at one scale."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import within_closed
from collimate._numerics import log1mexp, log_mix_with_one
from collimate.divergences.f_divergence import FDivergence
from collimate.divergences.kullback_leibler import forward_kl, reverse_kl
from collimate.divergences.skewed_jensen_shannon import skewed_jensen_shannon


def _f_prime(u: Float[Tensor, "*any"], *, b: float) -> Float[Tensor, "*any"]:
    return -log_mix_with_one(-u, b) / b


def _inverse(s: Float[Tensor, "*any"], *, b: float) -> Float[Tensor, "*any"]:
    """-log(1 + (e^{-b·s} - 1)/b) near 0; below without e^{-b·s}, above without a difference from 1."""
    zero, end = torch.zeros_like(s), -math.log1p(-b) / b
    below, above = b * s < -1, b * s > 1
    near = -torch.log1p(torch.expm1(-b * torch.where(below | above, zero, s)) / b)
    low = b * torch.where(below, s, zero - 2 / b)
    far_below = low + math.log(b) - torch.log1p(-(1 - b) * torch.exp(low))
    high = torch.exp(-b * torch.where(above, s, zero)) - (1 - b)
    far_above = math.log(b) - torch.log(high.clamp(min=0))
    u = torch.where(below, far_below, torch.where(above, far_above, near))
    return torch.where(s < end, u, zero + math.inf)


def _inverse_below(gap: Float[Tensor, "*any"], *, b: float) -> Float[Tensor, "*any"]:
    return math.log(b) - math.log1p(-b) - b * gap - log1mexp(-b * gap)


def generalized_jensen_shannon(b: float) -> FDivergence:
    """[b·KL(q‖m) + (1-b)·KL(p‖m)] / (b·(1-b)), m = b·q + (1-b)·p, in nats: f''(1) = 1 for every b.

    f' = -log(1 - b + b/t)/b, legal as a closed-form margin. Divided by its scale b·(1-b) it is
    continuous: b -> 0 the forward KL, b -> 1 the reverse KL, b = ½ four times `jensen_shannon`
    (undivided it would vanish at both ends).

    Args: b in [0, 1]. Errors: BadConfig outside. Source: agarwal:24 (undivided there).

    >>> generalized_jensen_shannon(0.5).f(torch.tensor(2.0).log())  # 4 times 0.0849
    tensor(0.3398)
    """
    within_closed("b", b, 0.0, 1.0)
    name = f"generalized_jensen_shannon({b:g})"
    if b in (0, 1):
        return replace(reverse_kl if b else forward_kl, name=name, source="agarwal:24")
    return replace(
        skewed_jensen_shannon(b, b),
        name=name,
        source="agarwal:24",
        f_prime=partial(_f_prime, b=b),
        log_f_prime_inverse=partial(_inverse, b=b),
        slope_at_infinity=-math.log1p(-b) / b,
        inverse_below_slope=partial(_inverse_below, b=b),
        formula=f"-log(1 - {b} + {b}/t)/{b}",
    )
