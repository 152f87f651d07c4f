"""Indicators of over-optimisation: mass and entropy of the likeliest next tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig, BadData, within


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TopK:
    """M_k, H_k and H_k of the renormalised top k, of each distribution over next tokens.

    mass: in [0, 1]. entropy: nats. normalised_entropy: nats, in [0, log k].

    >>> one = torch.ones(1)
    >>> TopK(mass=one, entropy=one, normalised_entropy=one).mass
    tensor([1.])
    """

    mass: Float[Tensor, "*token"]
    entropy: Float[Tensor, "*token"]
    normalised_entropy: Float[Tensor, "*token"]


def top_k_indicators(logits: Float[Tensor, "*token vocab"], k: int = 10) -> TopK:
    """M_k = Σ_{i<=k} p_i, H_k = -Σ_{i<=k} p_i·log p_i, Ĥ_k = entropy of p_i/M_k, p sorted downwards.

    H_k = M_k·Ĥ_k - M_k·log M_k: as a policy sharpens, H_k first rises, with the mass that enters the
    top k; Ĥ_k only falls. At k = the vocabulary both are the entropy.

    logits: or log-probs, of which log_softmax is themselves; -inf is a token that cannot come.

    Errors: BadConfig unless k is a whole number from 1 to the vocabulary; BadData for NaN or a row
    without a possible token. Source: shi:24.

    >>> found = top_k_indicators(torch.tensor([0.5, 0.25, 0.125, 0.125]).log(), k=2)
    >>> [round(x.item(), 4) for x in (found.mass, found.entropy, found.normalised_entropy)]
    [0.75, 0.6931, 0.6365]
    """
    vocab = logits.shape[-1]
    if isinstance(k, bool) or not 1 <= k <= vocab:
        raise BadConfig(f"k must be in 1 to {vocab}, the vocabulary, got {k!r}")
    log_p = logits.detach().log_softmax(-1)
    if log_p.isnan().any():
        raise BadData("logits must be numbers, and each row needs a token that is possible")
    top = log_p.topk(k, dim=-1).values
    log_mass = top.logsumexp(-1)
    return TopK(
        mass=log_mass.exp(),
        entropy=_entropy(top),
        normalised_entropy=_entropy(top - log_mass[..., None]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OverOptimisation:
    """First moments (indices) at which an alarm is raised, None where it never is.

    by_entropy: the normalised entropy fell. by_mass: the mass fell.

    >>> OverOptimisation(by_entropy=5, by_mass=None).first
    5
    """

    by_entropy: int | None
    by_mass: int | None

    @property
    def first(self) -> int | None:
        """The earlier of the two."""
        raised = [x for x in (self.by_entropy, self.by_mass) if x is not None]
        return min(raised, default=None)


def over_optimisation(
    normalised_entropy: Sequence[float],
    mass: Sequence[float],
    *,
    entropy_fall: float = 0.3,
    mass_fall: float = 0.05,
    patience: int = 2,
) -> OverOptimisation:
    """When Ĥ_k, or M_k, has fallen by a share of its peak so far and stays so: `fallen` of each.

    normalised_entropy, mass: means of `top_k_indicators` over the same tokens, of one moment of
    training after another. A policy that learns sharpens too: the thresholds are this package's,
    not the publication's; set them on runs that went well, and count false alarms there.

    Errors: those of `fallen`; BadData for series of other lengths. Source: shi:24.

    >>> over_optimisation([1.0, 0.9, 0.6, 0.5], [0.8, 0.9, 0.9, 0.9])
    OverOptimisation(by_entropy=3, by_mass=None)
    """
    if len(normalised_entropy) != len(mass):
        raise BadData(
            f"entropy and mass must be of the same moments, got {len(normalised_entropy)} "
            f"and {len(mass)}"
        )
    return OverOptimisation(
        by_entropy=fallen(normalised_entropy, entropy_fall, patience=patience),
        by_mass=fallen(mass, mass_fall, patience=patience),
    )


def fallen(series: Sequence[float], share: float, *, patience: int = 1) -> int | None:
    """First index at which the last `patience` values are all below (1 - share)·the peak before them.

    series: of numbers of at least 0. None if that never happens. Scaling the series changes nothing.

    Errors: BadConfig for a share outside [0, 1) or a patience below 1; BadData for values that are
    not finite or below 0.

    >>> fallen([1.0, 2.0, 1.0, 1.9, 1.0, 1.2], 0.2, patience=2)
    5
    """
    within("share", share, 0.0, 1.0)
    if isinstance(patience, bool) or patience < 1:
        raise BadConfig(f"patience must be a whole number of at least 1, got {patience!r}")
    peak, below = -math.inf, 0
    for index, value in enumerate(series):
        if not math.isfinite(value) or value < 0:
            raise BadData(f"the series must be finite and at least 0, got {value} at {index}")
        below = below + 1 if value < (1 - share) * peak else 0
        if below >= patience:
            return index
        peak = max(peak, value)
    return None


def _entropy(log_p: Float[Tensor, "*token k"]) -> Float[Tensor, "*token"]:
    p = log_p.exp()
    return -(p * log_p.where(p > 0, torch.zeros_like(p))).sum(-1)
