"""Margins of a third answer that is imitated beside the pair."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin


def _gold(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    if view.gold is None:
        raise BadComposition(
            "this method imitates a gold answer, and the view has none: give a column `gold`, or use a "
            "method of pairs alone"
        )
    return view.gold


gold_log_prob = Margin(
    name="gold_log_prob",
    value=_gold,
    needs=Needs(view="pairs", reference=False, gold=True),
    compares=False,
    formula="l_gold",
    source="saeidi:25",
)
"""h = log p(y_gold), the whole answer (nats). Errors: BadComposition without one. Source: saeidi:25."""
