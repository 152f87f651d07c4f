"""What becomes of agreement when a model takes a rater's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from collimate._checks import same_length
from collimate.diagnostics.raters.krippendorff import Metric, krippendorff_alpha


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RaterReplacement:
    """alpha: of the raters alone. replaced [rater]: with the model in that rater's place."""

    alpha: float
    replaced: Float[np.ndarray, " rater"]

    @property
    def loss(self) -> float:
        """alpha - mean of replaced: above 0, the model agrees less with raters than they do."""
        return self.alpha - float(self.replaced.mean())


def rater_replacement(
    ratings: Float[np.ndarray, "rater item"],
    judge: Float[np.ndarray, " item"],
    *,
    metric: Metric = "interval",
) -> RaterReplacement:
    """Krippendorff's alpha of the raters, and with `judge` instead of each of them in turn.

    The judge rates where the replaced rater did: elsewhere it is NaN, so that all alphas rest on the
    same cells. Errors: BadData as in `krippendorff_alpha`, and for two numbers of items.
    Source: brassard:24.

    >>> human = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    >>> rater_replacement(human, np.array([3.0, 2.0, 1.0])).loss > 1
    True
    """
    same_length(ratings=ratings.shape[1], judge=len(judge))
    replaced = []
    for rater in range(len(ratings)):
        changed = ratings.copy()
        changed[rater] = np.where(np.isnan(ratings[rater]), np.nan, judge)
        replaced.append(krippendorff_alpha(changed, metric=metric))
    return RaterReplacement(
        alpha=krippendorff_alpha(ratings, metric=metric), replaced=np.array(replaced)
    )
