"""The Cauchy-Schwarz divergence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._numerics import absolute_difference
from collimate.divergences.divergence import PlainDivergence


def _exact(
    log_p: Float[Tensor, "*batch outcome"], log_q: Float[Tensor, "*batch outcome"]
) -> Float[Tensor, "*batch"]:
    """-log cos; at small angles by 1 - cos = ½|p/|p| - q/|q||², which does not cancel."""
    wide_p, wide_q = (x if x.device.type == "mps" else x.double() for x in (log_p, log_q))
    norm_p = torch.logsumexp(2 * wide_p, dim=-1) / 2
    norm_q = torch.logsumexp(2 * wide_q, dim=-1) / 2
    direct = norm_p + norm_q - torch.logsumexp(wide_p + wide_q, dim=-1)
    gap = absolute_difference(wide_p - norm_p[..., None], wide_q - norm_q[..., None])
    one_less_cosine = gap.square().sum(-1) / 2
    small = one_less_cosine < 0.25
    near = -torch.log1p(-torch.where(small, one_less_cosine, torch.zeros_like(direct)))
    return torch.where(small, near, direct).to(log_p.dtype)


cauchy_schwarz = PlainDivergence(
    name="cauchy_schwarz",
    exact=_exact,
    source="jenssen:06",
    formula="log(sum(p^2))/2 + log(sum(q^2))/2 - log(sum(p·q))",
)
"""½ log Σ p² + ½ log Σ q² - log Σ p·q: minus the log of the cosine between p and q, in nats.

Range [0, inf], symmetric. Some papers double it. Not an f-divergence: merging outcomes may raise it.
Source: jenssen:06.
"""
