"""Mean log-ratios, and what they are worth as importance weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadData
from collimate.diagnostics._shapes import require_finite, require_shape, require_some


def mean_log_ratio(
    policy: Float[Tensor, " answer"], reference: Float[Tensor, " answer"]
) -> Float[Tensor, ""]:
    """Mean of log p(y) - log q(y) over the given answers (nats), in float64.

    Over answers drawn from p it estimates KL(p‖q); over given ones (a data set's) it is no
    divergence, may be negative, and is called what it is.

    Errors: BadData without answers, for shapes that differ, or values that are not finite.

    >>> mean_log_ratio(torch.tensor([-1.0, -4.0]), torch.tensor([-2.0, -2.0]))
    tensor(-0.5000, dtype=torch.float64)
    """
    require_some("policy", policy, "answer")
    require_shape("reference", reference, policy.shape, "answer")
    ratio = policy.detach().double() - reference.double()
    require_finite("policy - reference", ratio)
    return ratio.mean()


def effective_sample_size(log_weights: Float[Tensor, "*batch draw"]) -> Float[Tensor, "*batch"]:
    """(Σ w)²/Σ w² for w = exp(u), in [1, draws], from u = log w (nats); in log space, float64.

    log_weights: u = log p - log q of draws from q; a constant added to all of them changes nothing,
    -inf is a draw that p never makes. Equal weights: all draws; one that outweighs the rest: 1. A
    high value does not show that p is covered: a mode that q never draws is not seen.

    Errors: BadData without draws, for NaN or +inf, and where no draw has weight. Source: kish:65.

    >>> effective_sample_size(torch.tensor([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])).round(decimals=6)
    tensor([3., 1.], dtype=torch.float64)
    """
    require_some("log_weights", log_weights, "draw")
    u = log_weights.detach().double()
    top = u.amax(-1)
    if not top.isfinite().all() or u.isnan().any():
        raise BadData(
            "log weights must be numbers below +inf, one of them above -inf: where all draws have "
            "weight 0 there is no sample"
        )
    return torch.exp(2 * u.logsumexp(-1) - (2 * u).logsumexp(-1))
