"""Expected calibration error, its interval, and what it is for forecasts that are right."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import same_length, within
from collimate.diagnostics._groups import numbered
from collimate.diagnostics.calibration.reliability import Bins, bin_index, reliability


def expected_calibration_error(
    probability: Float[Tensor, " forecast"],
    outcome: Bool[Tensor, " forecast"],
    *,
    bins: int = 10,
    equal: Bins = "width",
) -> float:
    """ECE = Σ_bins (n_bin/n)·|frequency - mean probability|, in [0, 1].

    Arguments, bins and errors as in `reliability`. Read it beside a proper score: a constant
    forecast equal to the base rate has ECE 0. It is biased upwards, most for many bins and few
    forecasts, because |noise| does not average out; `calibrated_calibration_error` says by how much.
    Source: guo:17.

    >>> import torch
    >>> expected_calibration_error(torch.tensor([0.75] * 4), torch.tensor([True, True, True, False]))
    0.0
    """
    points = reliability(probability, outcome, bins=bins, equal=equal)
    gap = (points.frequency - points.probability).abs()
    return float((points.count * gap).sum() / points.count.sum())


def calibration_error_interval(
    probability: Float[Tensor, " forecast"],
    outcome: Bool[Tensor, " forecast"],
    groups: Sequence[Hashable],
    *,
    bins: int = 10,
    equal: Bins = "width",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the ECE, whole groups (prompts) redrawn together.

    It speaks of the binned error as computed: redrawn data carry the upward bias twice, so the
    interval of calibrated forecasts stays above 0, and whether forecasts are calibrated is asked of
    `calibrated_calibration_error`. Arguments otherwise as in `expected_calibration_error`. Equal-mass
    bins are those of the data, not of each redraw.

    >>> import torch
    >>> p, came_true = torch.full((8,), 0.5), torch.tensor([True, False] * 4)
    >>> low, high = calibration_error_interval(p, came_true, range(8), draws=100)
    >>> 0.0 <= low < high <= 0.5
    True
    """
    same_length(probability=len(probability), groups=len(groups))
    within("level", level, 0.0, 1.0)
    gap = (outcome.double() - probability.double()).cpu().numpy()
    index = bin_index(probability, outcome, bins=bins, equal=equal).cpu().numpy()
    owner, count = numbered(groups)
    sums = np.zeros((count, bins))  # ECE = Σ_bins |Σ of outcome - probability| / n
    np.add.at(sums, (owner, index), gap)
    size = np.bincount(owner, minlength=count)
    generator = np.random.default_rng(seed)
    errors = np.empty(draws)
    for i in range(draws):
        drawn = generator.integers(0, count, count)
        errors[i] = np.abs(sums[drawn].sum(0)).sum() / size[drawn].sum()
    low, high = np.quantile(errors, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def calibrated_calibration_error(
    probability: Float[Tensor, " forecast"],
    *,
    bins: int = 10,
    equal: Bins = "width",
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """(mean, quantile at `level`) of the ECE that these forecasts have when every one of them is right.

    Outcomes are drawn from the forecasts, independently. An ECE above the quantile speaks against
    calibration at that level; one below it is noise of this many forecasts and bins.

    Arguments as in `expected_calibration_error`. Source: broecker:07.

    >>> import torch
    >>> mean, high = calibrated_calibration_error(torch.full((100,), 0.5), draws=200)
    >>> 0.0 < mean < high < 0.2
    True
    """
    within("level", level, 0.0, 1.0)
    index = bin_index(probability, probability >= 0, bins=bins, equal=equal).cpu().numpy()
    p = probability.double().cpu().numpy()
    generator = np.random.default_rng(seed)
    errors = np.empty(draws)
    for i in range(draws):
        gap = (generator.random(len(p)) < p) - p
        errors[i] = np.abs(np.bincount(index, gap, minlength=bins)).sum() / len(p)
    return float(errors.mean()), float(np.quantile(errors, level))
