"""Log-odds of answers, by the geometric mean of their tokens' probabilities: no reference."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from collimate._numerics import log1mexp
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins._pairs import mean_log_probs
from collimate.margins.margin import Margin

_ALONE = Needs(view="pairs", reference=False)


LINEAR_ABOVE = -1e-6
"""Log-prob per token above which the log-odds, there 13.8, are continued by their tangent."""


def _log_odds(mean: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    tame = mean.clamp(max=LINEAR_ABOVE)
    # relu, not mean - tame: below, two slopes of 1e6 would cancel to 1 and cost six digits.
    return tame - log1mexp(tame) - (mean - LINEAR_ABOVE).relu() / math.expm1(LINEAR_ABOVE)


def _gap(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    chosen, rejected = mean_log_probs(view)
    return _log_odds(chosen) - _log_odds(rejected)


def _chosen(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return _log_odds(mean_log_probs(view)[0])


def _rejected(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return _log_odds(mean_log_probs(view)[1])


log_odds_gap = Margin(
    name="log_odds_gap",
    value=_gap,
    needs=_ALONE,
    source="hong:24",
    formula="l_w/n_w - log(1 - exp(l_w/n_w)) - l_l/n_l + log(1 - exp(l_l/n_l))",
)
"""h = o_w - o_l, o = L - log(1 - e^L), L the log-prob per token: the log of the odds ratio.

Above L = -1e-6 continued linearly, value and slope: an answer that is certain, L = 0, would have
infinite odds. Law: swapping chosen and rejected flips the
sign of h. Errors: BadComposition without lengths. Source: hong:24.
"""

chosen_log_odds = Margin(
    name="chosen_log_odds",
    value=_chosen,
    needs=_ALONE,
    compares=False,
    source="wang:24b",
    formula="l_w/n_w - log(1 - exp(l_w/n_w))",
)
"""h = o_w, the chosen answer's log-odds; see `log_odds_gap`. Source: wang:24b."""

rejected_log_odds = Margin(
    name="rejected_log_odds",
    value=_rejected,
    needs=_ALONE,
    compares=False,
    source="wang:24b",
    formula="l_l/n_l - log(1 - exp(l_l/n_l))",
)
"""h = o_l, the rejected answer's log-odds; see `log_odds_gap`. Source: wang:24b."""
