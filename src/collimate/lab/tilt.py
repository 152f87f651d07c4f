"""The maximiser of E_p[r] - beta·D_f(p‖q): the reference tilted by the reward."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import NotConverged
from collimate._root import root
from collimate.divergences import FDivergence

_SOUGHT = 1e-14  # error of the log normaliser: a few roundings
_REFUSED = 1e-9


def tilt(
    log_q: Float[Tensor, "context response"],
    reward: Float[Tensor, "context response"],
    divergence: FDivergence,
    beta: float,
) -> Float[Tensor, "context response"]:
    """Log of p*(y) = q(y)·max(0, (f')^-1((r(y) - λ)/beta)), λ from Σ_y p*(y) = 1 in each context.

    The search is for s = (max r - λ)/beta, the slope of f at the best response. It is never
    negative, and the normaliser rises with it; where f' is bounded, s is sought in the logarithm of
    its distance to the bound, so that no digit of a small distance is lost.

    Errors: NotConverged if the normaliser misses 1 by more than 1e-9.
    """
    below = (reward.amax(-1, keepdim=True) - reward) / beta

    def log_probs(w: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        return log_q + _log_ratio(w, below, divergence)

    def excess(w: Float[Tensor, "context 1"]) -> Float[Tensor, "context 1"]:
        return log_probs(w).logsumexp(-1, keepdim=True)

    found = log_probs(root(excess, torch.zeros_like(below[:, :1]), _SOUGHT))
    error = (found.exp().sum(-1) - 1).abs().max().item()
    if not error <= _REFUSED:
        raise NotConverged(
            f"the optimum under '{divergence.name}' at beta {beta:g} sums to 1 only within "
            f"{error:.2g}; give the divergence an exact inverse_below_slope, or a beta that is "
            "closer to the spread of the rewards"
        )
    return found


def _log_ratio(
    w: Float[Tensor, "context 1"], below: Float[Tensor, "context response"], divergence: FDivergence
) -> Float[Tensor, "context response"]:
    """u with f'(e^u) = s - below, where s = w, or bound·(1 - e^-w) if f' has an upper bound."""
    bound = divergence.slope_at_infinity
    if bound == math.inf:
        return divergence.log_f_prime_inverse(w - below)
    far = divergence.log_f_prime_inverse(-bound * torch.expm1(-w) - below)
    if divergence.inverse_below_slope is None:
        return far
    # Each form where it keeps its digits: the distance near the bound, the slope away from it.
    gap = bound * torch.exp(-w) + below
    return torch.where(gap < bound / 2, divergence.inverse_below_slope(gap), far)
