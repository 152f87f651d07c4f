"""The gap of implicit rewards between the chosen and the rejected answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._types import PairLogProbs
from collimate.axes import FDivergence, Needs
from collimate.margins.margin import Margin

LINEAR_BEYOND = 60.0
"""Size of a log-ratio (nats) beyond which an exploding f' is continued by its tangent."""


@cache
def _knees(divergence: FDivergence) -> tuple[float, float]:
    """Where the tangents begin: ±60 nats, nearer 0 where f' passes ±e^60 sooner (alpha > 1).

    -inf or +inf on a side where f' does not explode.
    """
    low, high = (
        divergence.f_prime(_scalar(-LINEAR_BEYOND)),
        divergence.f_prime(_scalar(LINEAR_BEYOND)),
    )
    most = _scalar(LINEAR_BEYOND).exp()
    steep = 20 * LINEAR_BEYOND
    return (
        -math.inf
        if low >= -steep
        else max(-LINEAR_BEYOND, divergence.log_f_prime_inverse(-most).item()),
        math.inf
        if high <= steep
        else min(LINEAR_BEYOND, divergence.log_f_prime_inverse(most).item()),
    )


def _scalar(u: float) -> Float[Tensor, ""]:
    return torch.tensor(u, dtype=torch.float64)


def _implicit_reward(u: Float[Tensor, " pair"], divergence: FDivergence) -> Float[Tensor, " pair"]:
    """f'(e^u), continued linearly (value and slope) beyond the knees, where f' would overflow."""
    low, high = _knees(divergence)
    reward = divergence.f_prime(u.clamp(min=low, max=high))
    for knee, beyond in ((low, u < low), (high, u > high)):
        if math.isfinite(knee):
            at = _scalar(knee).requires_grad_()
            with torch.enable_grad():
                value = divergence.f_prime(at)
                (slope,) = torch.autograd.grad(value, at)
            tangent = value.item() + slope.item() * (u - knee)
            reward = torch.where(beyond, tangent, reward)
    return reward


def _gap(view: PairLogProbs, divergence: FDivergence) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    return _implicit_reward(chosen, divergence) - _implicit_reward(rejected, divergence)


def _facts(view: PairLogProbs, divergence: FDivergence) -> Mapping[str, Bool[Tensor, " pair"]]:
    chosen, rejected = view.log_ratios()
    low, high = _knees(divergence)
    both = torch.stack([chosen, rejected])
    return {"linear_continuation": ((both < low) | (both > high)).any(0)}


log_ratio_gap = Margin(
    name="log_ratio_gap",
    value=_gap,
    facts=_facts,
    needs=Needs(view="pairs", reference=True),
    closed_form=True,
    source="rafailov:23 eq. 7; wang:24 eq. 8",
    formula="f'(t_w) - f'(t_l)",
)
"""h = f'(e^u_w) - f'(e^u_l), u the answers' log-ratios; for reverse KL h = u_w - u_l (nats).

Law: swapping chosen and rejected flips the sign of h. Where f' explodes (forward KL, alpha > 0 and
others below, chi-square and KL above), it continues linearly, value and slope, beyond 60 nats
(sooner for alpha > 1), and the number of such pairs is logged as `linear_continuation`. Errors:
BadComposition without reference log-probs. Source: rafailov:23 eq. 7 for the reverse KL, wang:24
eq. 8 for any f.
"""
