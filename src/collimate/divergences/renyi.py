"""Rényi's divergence."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import positive
from collimate.divergences.alpha import alpha
from collimate.divergences.divergence import PlainDivergence
from collimate.divergences.f_divergence import FDivergence
from collimate.divergences.kullback_leibler import reverse_kl


def _exact(
    log_p: Float[Tensor, "*batch outcome"],
    log_q: Float[Tensor, "*batch outcome"],
    *,
    order: float,
    near: FDivergence,
) -> Float[Tensor, "*batch"]:
    """log S/(order - 1), S = Σ p^order·q^(1-order); near S = 1 by 1 - S, a sum without cancellation."""
    vanishes = (log_p == -math.inf) | (order < 1) & (log_q == -math.inf)
    infinite = ~vanishes & (log_q == -math.inf)
    safe_p = torch.where(vanishes | infinite, torch.zeros_like(log_p), log_p)
    safe_q = torch.where(vanishes | infinite, torch.zeros_like(log_q), log_q)
    exponent = order * safe_p + (1 - order) * safe_q
    exponent = torch.where(vanishes, torch.full_like(exponent, -math.inf), exponent)
    exponent = torch.where(infinite, torch.full_like(exponent, math.inf), exponent)
    log_sum = torch.logsumexp(exponent, dim=-1)
    small = log_sum.abs() < 0.5
    rest = order * (order - 1) * near.exact(log_p, log_q)  # S - 1
    by_rest = torch.log1p(torch.where(small, rest, torch.zeros_like(rest)))
    return torch.where(small, by_rest, log_sum) / (order - 1)


def renyi(order: float) -> PlainDivergence:
    """log Σ p^order·q^(1-order) / (order - 1) nats, order > 0: not divided by its scale, the order.

    order = 1 is the reverse KL, order = ½ twice Bhattacharyya's distance. Range [0, inf]; it rises
    with the order. The distributions must be normalised.

    Errors: BadConfig unless order is finite and above 0. Source: renyi:61.

    >>> renyi(0.5).exact(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log())
    tensor(0.2231)
    """
    positive("order", order)
    name = f"renyi({order:g})"
    if order == 1:
        formula = "sum(p·log(p/q))"
        return PlainDivergence(
            name=name, exact=reverse_kl.exact, source="renyi:61", formula=formula
        )
    exact = partial(_exact, order=order, near=alpha(1 - order))
    formula = f"log(sum(p^{order}·q^(1 - {order})))/({order} - 1)"
    return PlainDivergence(name=name, exact=exact, source="renyi:61", formula=formula)
