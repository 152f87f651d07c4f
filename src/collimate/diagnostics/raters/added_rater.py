"""Whether a model helps a panel of humans to a better vote."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from collimate._checks import BadConfig, BadData, same_length
from collimate.diagnostics.raters.majority import Ties, majority
from collimate.diagnostics.raters.spearman import spearman


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedRater:
    """Spearman's correlation with the vote of the raters outside the panel, for each panel.

    alone [panel]: of the panel's vote. joined [panel]: with the judge in it.
    """

    alone: Float[np.ndarray, " panel"]
    joined: Float[np.ndarray, " panel"]

    @property
    def benefit(self) -> float:
        """mean(joined - alone): above 0, the judge helps panels of this size."""
        return float((self.joined - self.alone).mean())


def added_rater(
    ratings: Float[np.ndarray, "rater item"],
    judge: Float[np.ndarray, " item"],
    panel: int,
    *,
    ties: Ties = "average",
    seed: int = 0,
) -> AddedRater:
    """corr(maj(panel + judge), gold) and corr(maj(panel), gold) over all panels of that size.

    gold: the vote of the raters who are not in the panel, so that no one is compared with himself.
    All (raters choose panel) panels are taken. ties: the rule of every vote (`majority`), which
    decides whether a judge as good as a human helps a panel of two. Of two grades and by lot a vote of
    2n is that of 2n - 1, so that no judge helps an odd panel; of more grades it may.

    Errors: BadConfig unless 1 <= panel < raters; BadData for missing ratings, or votes that are all
    alike. Source: brassard:24.

    >>> truth = np.arange(8.0) % 4
    >>> humans = np.stack([truth, truth, truth, np.roll(truth, 1)])
    >>> added_rater(humans, truth, 1).benefit > 0
    True
    """
    same_length(ratings=ratings.shape[1], judge=len(judge))
    if not 1 <= panel < len(ratings):
        raise BadConfig(f"panel must be 1 to {len(ratings) - 1} of {len(ratings)}, got {panel}")
    if np.isnan(ratings).any() or np.isnan(judge).any():
        raise BadData("panels are compared on items that everybody rated: leave the others out")
    generator = np.random.default_rng(seed)

    def vote(rows: Float[np.ndarray, "rater item"]) -> Float[np.ndarray, " item"]:
        return majority(rows, ties=ties, seed=int(generator.integers(2**31)))

    alone, joined = [], []
    for chosen in combinations(range(len(ratings)), panel):
        inside = np.isin(np.arange(len(ratings)), chosen)
        gold = vote(ratings[~inside])
        alone.append(spearman(vote(ratings[inside]), gold))
        joined.append(spearman(vote(np.vstack([ratings[inside], judge])), gold))
    return AddedRater(alone=np.array(alone), joined=np.array(joined))
