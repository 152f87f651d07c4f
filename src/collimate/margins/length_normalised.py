"""The gap of log-ratios per token."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins._pairs import lengths
from collimate.margins.margin import Margin


def _gap(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    chosen_tokens, rejected_tokens = lengths(view)
    return chosen / chosen_tokens - rejected / rejected_tokens


length_normalised_log_ratio_gap = Margin(
    name="length_normalised_log_ratio_gap",
    value=_gap,
    needs=Needs(view="pairs", reference=True),
    source="ahrabian:24",
    formula="u_w/n_w - u_l/n_l",
)
"""h = u_w/|y_w| - u_l/|y_l|, u the answers' log-ratios, |y| their tokens (nats per token).

A beta of the same pull is |y| times that of `log_ratio_gap`. Law: swapping chosen and rejected
flips the sign of h. Errors: BadComposition without reference log-probs or lengths. Source:
ahrabian:24.
"""
