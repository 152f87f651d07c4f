"""The total variation distance."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._numerics import absolute_difference
from collimate.divergences.divergence import PlainDivergence


def _exact(
    log_p: Float[Tensor, "*batch outcome"], log_q: Float[Tensor, "*batch outcome"]
) -> Float[Tensor, "*batch"]:
    return absolute_difference(log_p, log_q).sum(-1) / 2


total_variation = PlainDivergence(
    name="total_variation", exact=_exact, source="levin:09", formula="sum(abs(p - q))/2"
)
"""½ Σ |p - q|: the largest difference of an event's probability.

Range [0, 1], symmetric, a metric. Its f has a kink at p = q, where the gradient is 0. Source:
levin:09 prop. 4.2.
"""
