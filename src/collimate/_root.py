"""Roots and inverses of rising functions, many at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 400  # every third one halves the bracket: 2**-133, or the last bit if that is sooner
_DOUBLINGS = 1100  # every exponent of a float64
_FARTHEST = 2.0**20  # beyond a million nats no slope says anything


def root(
    rising: Callable[[Tensor], Tensor], zeros: Float[Tensor, "*problem"], tolerance: float
) -> Float[Tensor, "*problem"]:
    """w >= 0 with |rising(w)| <= tolerance, or the last bit of w; rising(0) <= 0 elementwise.

    The bracket is doubled until it holds the root, then false position (Illinois: an end that stays
    twice has its value halved), every third step a bisection.
    """
    low, high = zeros, zeros + 1
    at_low, at_high = rising(low), rising(high)
    for _ in range(_DOUBLINGS):
        short = at_high < 0
        if not short.any():
            break
        low, at_low = torch.where(short, high, low), torch.where(short, at_high, at_low)
        high = torch.where(short, 2 * high, high)
        at_high = rising(high)
    best, error, was_short = low, at_low.abs(), torch.zeros_like(low) > 0
    for step in range(_STEPS):
        middle = (low + high) / 2
        if ((error <= tolerance) | (middle == low) | (middle == high)).all():
            break
        if step % 3 < 2:
            crossing = low - at_low * ((high - low) / (at_high - at_low))
            inside = (crossing > low) & (crossing < high)  # false for NaN: an infinite value
            middle = torch.where(inside, crossing, middle)
        value = rising(middle)
        nearer = value.abs() < error
        best, error = torch.where(nearer, middle, best), torch.where(nearer, value.abs(), error)
        short = value < 0
        stays = torch.where((short == was_short) & (step > 0), 0.5, 1.0)
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        at_low, at_high = (
            torch.where(short, value, stays * at_low),
            torch.where(short, stays * at_high, value),
        )
        was_short = short
    return best


def rising_inverse(
    rising: Callable[[Tensor], Tensor], value: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """x with rising(x) = value, to the last bits, in float64; ±inf outside its range."""
    wanted = value.detach().double()
    zeros = torch.zeros_like(wanted)
    side = torch.where(rising(zeros) > wanted, zeros - 1, zeros + 1)

    def short_of(w: Tensor) -> Tensor:
        return side * (rising(side * w) - wanted)

    outside = short_of(zeros + _FARTHEST) < 0
    found = root(lambda w: torch.where(outside, w, short_of(w)), zeros, 0.0)
    return (side * torch.where(outside, zeros + math.inf, found)).to(value.dtype)
