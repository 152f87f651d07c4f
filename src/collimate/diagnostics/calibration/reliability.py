"""Reliability diagrams: stated probability against observed frequency, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadConfig, BadData, one_of, same_length

Bins = Literal["width", "mass"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """One entry per bin that holds a forecast, in order of probability.

    count: forecasts in the bin. probability: their mean. frequency: share of them that came true.
    """

    count: Int[Tensor, " bin"]
    probability: Float[Tensor, " bin"]
    frequency: Float[Tensor, " bin"]


def reliability(
    probability: Float[Tensor, " forecast"],
    outcome: Bool[Tensor, " forecast"],
    *,
    bins: int = 10,
    equal: Bins = "width",
) -> Reliability:
    """The diagram's points: mean probability and observed frequency of each bin, in float64.

    probability: that the outcome comes true, in [0, 1]. For the confidence of a classifier: its
    largest softmax score, and whether that answer is right.
    equal "width": bins [k/bins, (k+1)/bins), the last one closed. equal "mass": bin
    floor(bins·rank/n) by mean rank 0..n-1, so that equal forecasts share a bin and the order of rows
    does not matter; sizes differ where ties do not fit. Empty bins are left out.

    Errors: BadData outside [0, 1], for NaN, no rows or two lengths; BadConfig for bins below 1.
    Source: guo:17; broecker:07.

    >>> points = reliability(torch.tensor([0.2, 0.3, 0.9]), torch.tensor([False, True, True]), bins=2)
    >>> points.frequency.tolist()
    [0.5, 1.0]
    """
    index = bin_index(probability, outcome, bins=bins, equal=equal)
    count = torch.bincount(index, minlength=bins)
    held = count > 0

    def mean(x: Tensor) -> Tensor:
        return torch.bincount(index, x.double(), minlength=bins)[held] / count[held]

    return Reliability(count=count[held], probability=mean(probability), frequency=mean(outcome))


def bin_index(
    probability: Float[Tensor, " forecast"],
    outcome: Bool[Tensor, " forecast"],
    *,
    bins: int,
    equal: Bins,
) -> Int[Tensor, " forecast"]:
    """The bin of each forecast, 0 to bins - 1, as in `reliability`; checks its arguments.

    >>> both = torch.tensor([True, False])
    >>> bin_index(torch.tensor([1.0, 0.5]), both, bins=2, equal="width").tolist()
    [1, 1]
    """
    same_length(probability=len(probability), outcome=len(outcome))
    if not ((probability >= 0) & (probability <= 1)).all():
        raise BadData("forecasts must be probabilities in [0, 1]; of log-probs take the exp first")
    one_of("equal", equal, get_args(Bins))
    if bins < 1:
        raise BadConfig(f"bins must be at least 1, got {bins}")
    p = probability.double().contiguous()
    if equal == "width":
        edges = torch.arange(1, bins, dtype=torch.float64, device=p.device) / bins
        return torch.searchsorted(edges, p, right=True)
    ordered = p.sort().values
    below = torch.searchsorted(ordered, p)
    until = torch.searchsorted(ordered, p, right=True)
    return (below + until - 1) * bins // (2 * len(p))
