"""Losses of single answers: the policy at which their pulls balance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._root import rising_inverse, root

_SOUGHT = 1e-14  # error of the log normaliser: a few roundings


def balance(
    log_q: Float[Tensor, "context response"],
    pull: Callable[[Float[Tensor, "context response"]], Float[Tensor, "context response"]],
) -> Float[Tensor, "context response"] | None:
    """Log p of the minimiser of Σ_y ψ_y(u_y) under Σ_y q(y)·e^u_y = 1, u = log p - log q (nats).

    pull: u -> -ψ'_y(u_y) of each response. By Lagrange, pull_y(u_y) = κ·p(y) with one κ in each
    context. Where every ψ is convex and Σ_y q(y)·e^ū_y >= 1 at its own minimum ū, κ is not negative,
    a given κ has one u, and one κ normalises: the only stationary point. (A negative κ would put
    every u above its ū, hence Σ above 1.) None where the sum at ū is below 1: there may be several.

    log_q of zeros stands for a loss without a reference. Where pull is never positive, p is 0 up to
    rounding.

    >>> won = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    >>> balance(torch.zeros_like(won), lambda u: won + 0 * u).exp()  # maximum likelihood
    tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """

    def log_probs(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        log_kappa_q = kappa.log() + log_q
        u = rising_inverse(lambda u: (log_kappa_q + u).exp() - pull(u), torch.zeros_like(log_q))
        return log_q + u

    def missing(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context 1"]:
        return -log_probs(kappa).logsumexp(-1, keepdim=True)

    zeros = torch.zeros_like(log_q[:, :1])
    if (missing(zeros) > 10 * _SOUGHT).any():
        return None
    found = log_probs(root(missing, zeros, _SOUGHT))
    return torch.log_softmax(found, dim=-1)
