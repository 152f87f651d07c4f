"""Agreement among any number of raters, with ratings missing."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData, one_of

Metric = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    ratings: Float[np.ndarray, "rater item"], *, metric: Metric = "interval"
) -> float:
    """alpha = 1 - D_o/D_e: 1 for full agreement, 0 for what chance gives, below 0 for worse.

    D_o: mean squared difference of two ratings of one item, items weighted by their ratings; D_e: of
    any two ratings of the table. Squared difference of values c and k: nominal 1[c ≠ k]; interval
    (c - k)²; ordinal (Σ_{c..k} n_g - (n_c + n_k)/2)², n_g the number of ratings g: what matters is
    how many ratings lie between.

    ratings: NaN where a rater did not rate. Items with fewer than two ratings do not count. The
    order of raters does not matter, nor (interval) shift and scale of all ratings, nor (ordinal) any
    increasing map of them.

    Errors: BadData where no item has two ratings, a rating is infinite, or all that count are alike,
    so that no disagreement could have been seen. Source: krippendorff:11.

    >>> krippendorff_alpha(np.array([[1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 3.0, 9.0]]))
    1.0
    """
    one_of("metric", metric, get_args(Metric))
    if np.isinf(ratings).any():
        raise BadData("ratings must be finite numbers, NaN where there is none")
    given = ~np.isnan(ratings)
    counts_of_item = given.sum(0)
    kept = counts_of_item >= 2
    if not kept.any():
        raise BadData("agreement needs an item with two ratings")
    rows, given, raters = ratings[:, kept].T, given[:, kept].T, counts_of_item[kept]
    values, code = np.unique(rows[given], return_inverse=True)
    table = np.zeros((len(rows), len(values)))  # [item, value]: ratings of that value
    np.add.at(table, (np.nonzero(given)[0], code), 1)
    weighted = table / (raters - 1)[:, None]
    coincidence = table.T @ weighted - np.diag(weighted.sum(0))
    total = coincidence.sum(0)
    squared = _squared_difference(values, total, metric)
    expected = total @ squared @ total / (total.sum() - 1)
    if expected == 0:
        raise BadData("all ratings are alike: whether raters agree cannot be seen")
    return float(1 - (coincidence * squared).sum() / expected)


def _squared_difference(
    values: Float[np.ndarray, " value"], total: Float[np.ndarray, " value"], metric: Metric
) -> Float[np.ndarray, "value value"]:
    if metric == "nominal":
        return 1 - np.eye(len(values))
    at = values if metric == "interval" else np.cumsum(total) - total / 2
    return np.square(at[:, None] - at[None, :])
