"""Policies whose log-ratios per token are given."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._root import root

_SOUGHT = 1e-14  # error of the log normaliser: a few roundings


def tilt_per_token(
    log_q: Float[Tensor, "context response"],
    tokens: Float[Tensor, "context response"],
    rate: Float[Tensor, "context response"],
) -> Float[Tensor, "context response"]:
    """log p = log q + |y|·(rate(y) + c), c in each context such that p sums to 1 (nats).

    What a loss of gaps (log p - log q)/|y| determines: rates up to a constant, which long responses
    feel more than short ones. log_q of zeros stands for a loss without a reference.

    >>> q = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    >>> tilt_per_token(q.log(), torch.tensor([[1.0, 4.0]]).double(), torch.zeros_like(q)).exp()
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    # Every term is at most q/n here, so that the sum is at most 1.
    below = rate - rate.amax(-1, keepdim=True) - math.log(rate.shape[-1])

    def log_probs(c: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        return log_q + tokens * (below + c)

    def excess(c: Float[Tensor, "context 1"]) -> Float[Tensor, "context 1"]:
        return log_probs(c).logsumexp(-1, keepdim=True)

    found = log_probs(root(excess, torch.zeros_like(rate[:, :1]), _SOUGHT))
    return torch.log_softmax(found, dim=-1)
