"""Margins that look at one answer of the pair."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._steps import mean, weights
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins._pairs import mean_log_probs
from collimate.margins.margin import Margin

_ALONE = Needs(view="pairs", reference=False)
_COMPARED = Needs(view="pairs", reference=True)
_STEP = Needs(view="pairs", reference=True, couples="batch")


def _chosen_ratio(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return view.log_ratios()[0]


def _rejected_ratio(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return view.log_ratios()[1]


def _chosen(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return view.policy_chosen


def _chosen_mean(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return mean_log_probs(view)[0]


def _shift(view: PairLogProbs) -> Float[Tensor, ""]:
    chosen, rejected = view.log_ratios()
    weight = weights(view.columns, chosen)
    return ((mean(chosen, weight) + mean(rejected, weight)) / 2).detach()


def _chosen_shifted(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return view.log_ratios()[0] - _shift(view)


def _rejected_shifted(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return _shift(view) - view.log_ratios()[1]


chosen_log_ratio = Margin(
    name="chosen_log_ratio",
    value=_chosen_ratio,
    needs=_COMPARED,
    compares=False,
    source="doosterlinck:25",
    formula="u_w",
)
"""h = u_w, the chosen answer's log-ratio (nats): how far it has risen. Source: doosterlinck:25."""

rejected_log_ratio = Margin(
    name="rejected_log_ratio",
    value=_rejected_ratio,
    needs=_COMPARED,
    compares=False,
    source="doosterlinck:25",
    formula="u_l",
)
"""h = u_l, the rejected answer's log-ratio (nats). Source: doosterlinck:25."""

chosen_shifted_log_ratio = Margin(
    name="chosen_shifted_log_ratio",
    value=_chosen_shifted,
    needs=_STEP,
    compares=False,
    formula="u_w - d",
    source="jung:25",
)
"""h = u_w - d, d = ½(mean of u_w + mean of u_l) over the step, without gradient. Source: jung:25.

Means by the column `weight`.
"""

rejected_shifted_log_ratio = Margin(
    name="rejected_shifted_log_ratio",
    value=_rejected_shifted,
    needs=_STEP,
    compares=False,
    formula="d - u_l",
    source="jung:25",
)
"""h = d - u_l, d as in `chosen_shifted_log_ratio`: rises as y_l falls. Source: jung:25."""

chosen_log_prob = Margin(
    name="chosen_log_prob",
    value=_chosen,
    needs=_ALONE,
    compares=False,
    source="fisher:22",
    formula="l_w",
)
"""h = log p(y_w), the whole answer (nats): with the loss `negation` supervised fine-tuning.

Source: fisher:22.
"""

chosen_mean_log_prob = Margin(
    name="chosen_mean_log_prob",
    value=_chosen_mean,
    needs=_ALONE,
    compares=False,
    source="fisher:22",
    formula="l_w/n_w",
)
"""h = log p(y_w)/|y_w| (nats per token): fine-tuning in which long answers weigh no more.

Errors: BadComposition without lengths. Source: fisher:22.
"""
