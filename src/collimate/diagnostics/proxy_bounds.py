"""What chi-square divergence from the reference guarantees about a reward that is only a proxy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.diagnostics._shapes import require_finite, require_shape
from collimate.divergences import pearson_chi_squared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyError:
    """By how much a proxy overrates a policy, and the bounds on that; units of the reward.

    error: E_p[d], d = proxy - true. shift: E_p[d] - E_q[d], the part that optimisation made.
    chi_squared: Σ (p - q)²/q. shift_bound >= |shift|. error_bound >= |error|.

    >>> zero = torch.zeros(1)
    >>> ProxyError(error=zero, shift=zero, chi_squared=zero, shift_bound=zero, error_bound=zero).error
    tensor([0.])
    """

    error: Float[Tensor, " context"]
    shift: Float[Tensor, " context"]
    chi_squared: Float[Tensor, " context"]
    shift_bound: Float[Tensor, " context"]
    error_bound: Float[Tensor, " context"]


def proxy_error(
    log_p: Float[Tensor, "context response"],
    log_q: Float[Tensor, "context response"],
    proxy: Float[Tensor, "context response"],
    true: Float[Tensor, "context response"],
) -> ProxyError:
    """|E_p[d] - E_q[d]| <= sqrt(χ²·Var_q(d)) and |E_p[d]| <= sqrt((1 + χ²)·E_q[d²]), d = proxy - true.

    Both are Cauchy-Schwarz, of (p/q - 1)·(d - E_q d) and of p/q·d under q, with χ² = E_q[(p/q - 1)²].
    The first is met with equality by d = a + b·p/q. With χ² in place of 1 + χ² the second would say
    that a policy at its reference has a proxy without error, which holds only where E_q[d] = 0.
    log_*: nats, of every answer of a finite world. Where p has an answer that q lacks, the bounds are
    +inf. Float64.

    Errors: BadData for shapes that differ or rewards that are not finite. Source: huang:25, laidlaw:25.

    >>> q, p = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    >>> found = proxy_error(p, q, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    >>> [round(x.item(), 4) for x in (found.shift, found.shift_bound, found.error_bound)]
    [0.4, 0.4, 0.9055]
    """
    p, q, r_hat, r, chi_squared = _world(log_p, log_q, proxy, true)
    d = r_hat - r
    before, after = (q * d).sum(-1), (p * d).sum(-1)
    spread = (q * (d - before[:, None]).square()).sum(-1)
    return ProxyError(
        error=after,
        shift=after - before,
        chi_squared=chi_squared,
        shift_bound=_root_of(chi_squared, spread),
        error_bound=_root_of(1 + chi_squared, (q * d.square()).sum(-1)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyGain:
    """What optimising a proxy gained over the reference, in standard deviations under it.

    correlation: of proxy and true reward under q. proxy, true: (E_p - E_q)/sd_q of each.
    lowest_true: what the true gain is at least, -inf where the correlation is not positive.

    >>> one = torch.ones(1)
    >>> ProxyGain(correlation=one, proxy=one, true=one, lowest_true=one).lowest_true
    tensor([1.])
    """

    correlation: Float[Tensor, " context"]
    proxy: Float[Tensor, " context"]
    true: Float[Tensor, " context"]
    lowest_true: Float[Tensor, " context"]


def proxy_gain(
    log_p: Float[Tensor, "context response"],
    log_q: Float[Tensor, "context response"],
    proxy: Float[Tensor, "context response"],
    true: Float[Tensor, "context response"],
) -> ProxyGain:
    """True gain >= (proxy gain - sqrt((1 - ρ²)·χ²))/ρ for a correlation ρ > 0 under the reference.

    Gains in standard deviations under q. The standardised proxy is ρ·true + sqrt(1 - ρ²)·e with e of
    mean 0 and variance 1 under q, and E_p[e] is at most sqrt(χ²). A constant reward: NaN.
    Arguments and errors of `proxy_error`. Source: laidlaw:25.

    >>> q, p = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    >>> reward = torch.tensor([[1.0, 0.0]])
    >>> proxy_gain(p, q, 3 * reward, reward).lowest_true
    tensor([0.8000], dtype=torch.float64)
    """
    p, q, r_hat, r, chi_squared = _world(log_p, log_q, proxy, true)
    r_hat, r = _standardised(r_hat, q), _standardised(r, q)
    rho = (q * r * r_hat).sum(-1).clamp(-1, 1)
    gain = (p * r_hat).sum(-1)
    lowest = (gain - ((1 - rho.square()) * chi_squared).sqrt()) / rho
    unknown = rho <= 0
    return ProxyGain(
        correlation=rho,
        proxy=gain,
        true=(p * r).sum(-1),
        lowest_true=lowest.where(~unknown, torch.full_like(lowest, -math.inf)),
    )


def _world(
    log_p: Tensor, log_q: Tensor, proxy: Tensor, true: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """p, q, both rewards and χ²(p‖q), in float64, of shapes that agree."""
    for name, value in (("log_q", log_q), ("proxy", proxy), ("true", true)):
        require_shape(name, value, log_p.shape, "answer of log_p")
    require_finite("proxy", proxy)
    require_finite("true", true)
    log_p, log_q = log_p.detach().double(), log_q.detach().double()
    chi_squared = pearson_chi_squared.exact(log_p, log_q)
    return log_p.exp(), log_q.exp(), proxy.double(), true.double(), chi_squared


def _standardised(
    reward: Float[Tensor, "context response"], q: Float[Tensor, "context response"]
) -> Float[Tensor, "context response"]:
    centred = reward - (q * reward).sum(-1, keepdim=True)
    return centred / (q * centred.square()).sum(-1, keepdim=True).sqrt()


def _root_of(
    chi_squared: Float[Tensor, " context"], moment: Float[Tensor, " context"]
) -> Float[Tensor, " context"]:
    """sqrt of the product; 0 where the moment is, however far p is from q."""
    return torch.where(moment == 0, torch.zeros_like(moment), chi_squared * moment).sqrt()
