"""Margins of labelled answers: h is positive where the policy leans the way of the label."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._steps import mean, weights
from collimate._types import ThumbLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin


def _labelled(view: ThumbLogProbs, divergence: Divergence) -> Float[Tensor, " answer"]:
    return view.label * view.log_ratios()


def _from_reference_point(view: ThumbLogProbs, divergence: Divergence) -> Float[Tensor, " answer"]:
    ratio = view.mismatched_log_ratios()
    point = mean(ratio, weights(view.mismatched_columns, ratio)).clamp(min=0).detach()
    return view.label * (view.log_ratios() - point)


def _shifted(view: ThumbLogProbs, divergence: Divergence) -> Float[Tensor, " answer"]:
    ratio = view.log_ratios()
    kinds = [weights(view.columns, ratio) * (view.label == label) for label in (1, -1)]
    means = [mean(ratio, weight) for weight in kinds if weight.any()]
    return view.label * (ratio - (sum(means, ratio.new_zeros(())) / max(len(means), 1)).detach())


labelled_log_ratio = Margin(
    name="labelled_log_ratio",
    value=_labelled,
    needs=Needs(view="thumbs"),
    compares=False,
    formula="y·u",
    source="doosterlinck:25",
)
"""h = y·u, y = ±1 the label, u = log policy - log reference (nats). Source: doosterlinck:25."""

reference_point_log_ratio = Margin(
    name="reference_point_log_ratio",
    value=_from_reference_point,
    needs=Needs(view="thumbs", mismatched=True, couples="batch"),
    compares=False,
    formula="y·(u - kl)",
    source="ethayarajh:24",
)
"""h = y·(u - z), z = max(0, mean of u over the step's mismatched answers), without gradient (nats).

z estimates KL(p‖q) at the step's prompts from answers to other prompts, each counted by the `weight` of
the row in which it stands. Defined over the whole step.
Errors: BadComposition without mismatched answers. Source: ethayarajh:24.
"""

shifted_log_ratio = Margin(
    name="shifted_log_ratio",
    value=_shifted,
    needs=Needs(view="thumbs", couples="batch"),
    compares=False,
    formula="y·(u - d)",
    source="jung:25",
)
"""h = y·(u - d), d = ½(mean of u over wanted + mean over unwanted answers of the step), without gradient.

Where a step has one kind alone, its mean is d. Means by the column `weight`. Defined over the whole
step. Source: jung:25.
"""
