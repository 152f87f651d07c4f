"""The Brier score of yes-or-no forecasts, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate.diagnostics.calibration.reliability import Bins, bin_index


@dataclass(frozen=True, slots=True, kw_only=True)
class BrierDecomposition:
    """score = reliability - resolution + uncertainty + within_bins, each as a mean per forecast.

    reliability: Σ (n_b/n)(f_b - o_b)², squared distance of stated and observed (0 is best).
    resolution: Σ (n_b/n)(o_b - o)², how far the bins tell cases apart (larger is better).
    uncertainty: o(1 - o) of the base rate o, no forecast's doing.
    within_bins: variance of the forecasts within bins less twice their covariance with outcomes.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


def brier_decomposition(
    probability: Float[Tensor, " forecast"],
    outcome: Bool[Tensor, " forecast"],
    *,
    bins: int = 10,
    equal: Bins = "width",
) -> BrierDecomposition:
    """mean (f - o)² = reliability - resolution + uncertainty + within_bins, exactly, for any bins.

    Arguments, bins and errors as in `reliability`. within_bins is 0 where all forecasts of a bin are
    equal (Murphy's three terms), and can be negative where forecasts are right within bins.

    Source: brier:50; murphy:73; stephenson:08.

    >>> parts = brier_decomposition(torch.tensor([0.5, 0.5]), torch.tensor([True, False]))
    >>> parts.score, parts.uncertainty, parts.resolution
    (0.25, 0.25, 0.0)
    """
    f, o = probability.double(), outcome.double()
    index = bin_index(probability, outcome, bins=bins, equal=equal)
    count = torch.bincount(index, minlength=bins).clamp(min=1)
    f_bin = (torch.bincount(index, f, minlength=bins) / count)[index]  # of each forecast's own bin
    o_bin = (torch.bincount(index, o, minlength=bins) / count)[index]
    base = o.mean()
    inner_f, inner_o = f - f_bin, o - o_bin
    return BrierDecomposition(
        score=float((f - o).square().mean()),
        reliability=float((f_bin - o_bin).square().mean()),
        resolution=float((o_bin - base).square().mean()),
        uncertainty=float(base * (1 - base)),
        within_bins=float((inner_f.square() - 2 * inner_f * inner_o).mean()),
    )
