"""KL(p‖q) from samples of p: the estimators k1, k2 and k3.

All three read u = log p(y) - log q(y) (nats) of samples y drawn from p, so KL(p‖q) = E_p[u]. For
KL(q‖p) draw from q and exchange the arguments. On answers that p did not draw, such as the chosen
answers of a data set, a mean of u is no divergence at all and can be negative at any sample size;
it is not offered here. Where the world can be enumerated, `divergences.reverse_kl.exact` is the sum
itself.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import same_length
from collimate._numerics import expm1_minus
from collimate.estimators.estimate import Estimate, checked_log_probs, estimate


def kl_k1(log_p: Float[Tensor, " sample"], log_q: Float[Tensor, " sample"], /) -> Estimate:
    """KL(p‖q) = E_p[u], values u = log p - log q of samples of p, in nats.

    Unbiased; single values are of either sign, and so can the mean of few be.

    log_p, log_q: log-probs of the same samples, drawn from p. Values are float64 and exact for
    every u; +inf where q(y) = 0, as the divergence then is.

    Errors: BadData for no sample, NaN, +inf, a sample of probability 0 under p, or two lengths.
    Source: schulman:20.

    >>> kl_k1(torch.tensor([-1.0, -1.0]), torch.tensor([-1.5, -1.0])).mean
    0.25
    """
    return estimate(_log_ratio(log_p, log_q))


def kl_k2(log_p: Float[Tensor, " sample"], log_q: Float[Tensor, " sample"], /) -> Estimate:
    """½E_p[(log p - log q)²], close to KL(p‖q) for close p and q: values u²/2 in nats.

    Biased: its expectation exceeds KL(p‖q) by E_p[u²/2 - u], which is of third order in u for close
    distributions and of either sign: E_p[u³]/6 to leading order, because E_p[e^-u] = 1. The value is
    never negative. Its gradient on fixed samples, E_p[u·∇log p], is the gradient of KL(p‖q).

    Arguments, range and errors as in `kl_k1`. Source: schulman:20.

    >>> kl_k2(torch.tensor([-1.0, -1.0]), torch.tensor([-3.0, -1.0])).mean
    1.0
    """
    return estimate(_log_ratio(log_p, log_q).square() / 2)


def kl_k3(log_p: Float[Tensor, " sample"], log_q: Float[Tensor, " sample"], /) -> Estimate:
    """KL(p‖q) = E_p[e^-u - 1 + u], in nats: k1 with the control variate q/p - 1.

    Unbiased where p covers q (E_p[q/p] = 1); else too small by the mass of q where p = 0. The value
    is never negative. Its variance is below k1's for close p and q, but holds E_p[(q/p)²] =
    1 + chi-square(q‖p): with q heavy where p seldom draws, both the mean and its standard error come
    out too small until such a sample is drawn, and then large.

    Arguments and errors as in `kl_k1`. Values are float64, relatively exact near u = 0, finite for
    u > -709 and honestly +inf beyond (e^-u > 1.8e308): nothing is clamped. Source: schulman:20.

    >>> kl_k3(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -2.0])).values
    tensor([0.0000, 0.3679], dtype=torch.float64)
    """
    u = _log_ratio(log_p, log_q)
    near = u.abs() <= 1
    series = expm1_minus(torch.where(near, -u, torch.zeros_like(u)))
    return estimate(torch.where(near, series, torch.exp(-u) - 1 + u))


def _log_ratio(log_p: Float[Tensor, " sample"], log_q: Float[Tensor, " sample"]) -> Tensor:
    same_length(log_p=len(log_p), log_q=len(log_q))
    p = checked_log_probs("log_p", log_p, drawn=True)
    return p - checked_log_probs("log_q", log_q, drawn=False)
