"""Best of n by a proxy reward: the policy, its price, and what it is truly worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadConfig
from collimate._numerics import log1mexp
from collimate.diagnostics._shapes import require_finite, require_shape, require_some


def best_of_n(
    log_q: Float[Tensor, "context response"], proxy: Float[Tensor, "context response"], n: int
) -> Float[Tensor, "context response"]:
    """Log-probs of the answer with the highest proxy of n independent draws from q (nats), exact.

    p(y) = q(y)/q(class)·(F(r)^n - F(r-)^n), F the distribution of the proxy under q, the class all
    answers of y's proxy: ties are broken at random. Float64.

    Errors: BadData for shapes that differ or a proxy that is not finite; BadConfig unless n >= 1.
    Source: beirami:25.

    >>> best_of_n(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]), 2).exp()
    tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    _checked_n(n)
    require_shape("proxy", proxy, log_q.shape, "answer of log_q")
    require_finite("proxy", proxy)
    log_q = log_q.detach().double().log_softmax(-1)

    def log_mass(where: Tensor) -> Float[Tensor, "context response"]:
        """Log-probability under q of the answers that stand so to each answer."""
        masked = log_q[:, None, :].where(where, torch.full_like(log_q[:, None, :], -math.inf))
        return masked.logsumexp(-1)

    other, own = proxy[:, None, :], proxy[:, :, None]
    up_to, tied, below = log_mass(other <= own), log_mass(other == own), log_mass(other < own)
    none_better = n * up_to + log1mexp((n * (below - up_to)).clamp(max=0))
    return log_q - tied + none_better


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1)/n >= KL(best of n‖q) (nats); equal without ties, in the limit of small q.

    Errors: BadConfig unless n >= 1. Source: beirami:25.

    >>> round(best_of_n_kl_bound(16), 3)
    1.835
    """
    _checked_n(n)
    return math.log(n) - (n - 1) / n


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BestOfNCurve:
    """Expected proxy and true reward of the best of n, for each n and prompt.

    >>> table = torch.ones(2, 3)
    >>> BestOfNCurve(n=torch.tensor([1, 2]), proxy=table, true=table).true.mean(-1)
    tensor([1., 1.])
    """

    n: Int[Tensor, " point"]
    proxy: Float[Tensor, "point prompt"]
    true: Float[Tensor, "point prompt"]


def best_of_n_curve(
    proxy: Float[Tensor, "prompt draw"],
    true: Float[Tensor, "prompt draw"],
    n: Sequence[int],
) -> BestOfNCurve:
    """Expected rewards of the best of n by the proxy, from N >= n draws of each prompt; unbiased.

    Every subset of n of the N draws is counted: with m draws of at most a proxy reward, the best of
    n is at most that in C(m, n)/C(N, n) of them; ties are broken at random. A true reward that
    falls while the proxy rises is over-optimisation. Float64; the mean over prompts is the curve.

    Errors: BadData for shapes that differ, no draws, or rewards that are not finite; BadConfig
    unless 1 <= n <= N. Source: gao:23.

    >>> proxy = torch.tensor([[0.0, 1.0, 2.0]])
    >>> best_of_n_curve(proxy, -proxy, [1, 2, 3]).true.squeeze(-1)
    tensor([-1.0000, -1.6667, -2.0000], dtype=torch.float64)
    """
    require_some("proxy", proxy, "draw")
    require_shape("true", true, proxy.shape, "draw of proxy")
    require_finite("proxy", proxy)
    require_finite("true", true)
    draws = proxy.shape[1]
    for value in n:
        if _checked_n(value) > draws:
            raise BadConfig(f"the best of {value} needs as many draws per prompt, got {draws}")
    up_to = (proxy[:, None, :] <= proxy[:, :, None]).sum(-1)
    below = (proxy[:, None, :] < proxy[:, :, None]).sum(-1)
    gained, worth = [], []
    for value in n:
        share = (_subsets(up_to, draws, value) - _subsets(below, draws, value)) / (up_to - below)
        gained.append((share * proxy).sum(-1))
        worth.append((share * true).sum(-1))
    return BestOfNCurve(n=torch.tensor(list(n)), proxy=torch.stack(gained), true=torch.stack(worth))


def _subsets(m: Int[Tensor, "prompt draw"], draws: int, n: int) -> Float[Tensor, "prompt draw"]:
    """C(m, n)/C(draws, n)."""
    share = torch.ones(m.shape, dtype=torch.float64, device=m.device)
    for taken in range(n):
        share = share * (m - taken).clamp(min=0) / (draws - taken)
    return share


def _checked_n(n: int) -> int:
    if isinstance(n, bool) or n < 1:
        raise BadConfig(f"n must be a whole number of at least 1, got {n!r}")
    return n
