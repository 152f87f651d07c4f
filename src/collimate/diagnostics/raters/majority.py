"""The vote of several raters."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from collimate._checks import BadData, one_of

Ties = Literal["average", "random"]


def majority(
    ratings: Float[np.ndarray, "rater item"], *, ties: Ties = "average", seed: int = 0
) -> Float[np.ndarray, " item"]:
    """The commonest rating of each item; of several, their mean ("average") or one by lot ("random").

    The rule matters: the mean of two raters who disagree carries both their opinions, a lot only one,
    so a third rater helps after a lot and may harm after a mean (`added_rater`).

    ratings: NaN where a rater did not rate. Errors: BadData for an item without any rating.
    Source: brassard:24; tie rules: ours, stated.

    >>> majority(np.array([[1.0, 4.0], [3.0, 4.0], [np.nan, 5.0]]))
    array([2., 4.])
    """
    one_of("ties", ties, get_args(Ties))
    given = ~np.isnan(ratings)
    if not len(ratings) or not given.any(0).all():
        raise BadData("a majority needs at least one rating of every item")
    values, code = np.unique(ratings[given], return_inverse=True)
    count = np.zeros((ratings.shape[1], len(values)))
    np.add.at(count, (np.nonzero(given)[1], code), 1)
    commonest = count == count.max(1, keepdims=True)
    if ties == "average":
        return commonest @ values / commonest.sum(1)
    lot = np.random.default_rng(seed).random(count.shape)
    return values[np.where(commonest, lot, -1).argmax(1)]
