"""Gaps between sorted answers: one distribution of rewards to dominate another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin

_STEP = Needs(view="pairs", reference=True, couples="batch")


def _require_even(view: PairLogProbs) -> None:
    """Errors: BadComposition for weights that differ: sorting mixes the pairs they belong to."""
    weight = view.columns.get("weight")
    if weight is not None and (weight != weight[:1]).any():
        raise BadComposition(
            "a loss of sorted gaps (aot, aot_unpaired) mixes the pairs of a step, so a pair's weight "
            f"would go to a rank; expected equal weights, got {weight.min():g} to {weight.max():g}: "
            "leave out the column 'weight', or use a method that looks at one pair, such as dpo"
        )


def _paired(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    _require_even(view)
    chosen, rejected = view.reference()
    policy = view.policy_chosen - view.policy_rejected
    return policy.sort().values - (chosen - rejected).sort().values


def _unpaired(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    _require_even(view)
    chosen, rejected = view.log_ratios()
    return chosen.sort().values - rejected.sort().values


sorted_gap = Margin(
    name="sorted_gap",
    value=_paired,
    needs=_STEP,
    source="melnyk:24",
    formula="sort(l_w - l_l) - sort(ref_w - ref_l)",
)
"""h_(i) = sort(log p_w - log p_l)_(i) - sort(log q_w - log q_l)_(i) over the pairs of a step (nats).

The policy's gaps are to dominate the reference's in every quantile. A pair's h depends on the others:
it is defined over the whole step; of a single pair it is the log-ratio gap. Errors: BadComposition
where the pairs' weights differ. Source: melnyk:24.
"""

sorted_log_ratio_gap = Margin(
    name="sorted_log_ratio_gap",
    value=_unpaired,
    needs=_STEP,
    source="melnyk:24",
    formula="sort(u_w) - sort(u_l)",
)
"""h_(i) = sort(u_w)_(i) - sort(u_l)_(i) over the answers of a step, u their log-ratios (nats).

Which rejected answer a chosen one is compared with is their rank's to say, not the data's: defined
over the whole step. Errors: BadComposition where the pairs' weights differ. Source: melnyk:24.
"""
