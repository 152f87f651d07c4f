"""Targets that depend on the data: what beta·h is compared with."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, positive
from collimate._types import PairLogProbs
from collimate.axes import PerUnit
from collimate.margins._pairs import column, lengths


def _of_length(view: PairLogProbs, *, a: float) -> Float[Tensor, " pair"]:
    chosen, rejected = lengths(view)
    return a * (rejected - chosen)


def length_target(a: float) -> PerUnit:
    """-a·(|y_w| - |y_l|): a chosen answer that is longer needs that much less, a > 0 per token.

    Errors: BadConfig for a; BadComposition without lengths. Source: park:24.
    """
    value = partial(_of_length, a=positive("alpha", a))
    return PerUnit(value=value, formula=f"{a}·(n_l - n_w)")


def _of_scores(view: PairLogProbs, *, a: float) -> Float[Tensor, " pair"]:
    gap = column(view, "margin")
    if not (gap > 0).all():
        raise BadComposition(
            "the offset is the log of the column 'margin', the chosen answer's score less the "
            f"rejected one's, which must be above 0; its least value is {gap.min().item():g}"
        )
    return a * gap.log()


def log_score_target(a: float) -> PerUnit:
    """a·log(R_w - R_l), the scores' gap in the column `margin`: better answers must be ahead by more.

    Errors: BadConfig unless a is above 0; BadComposition without the column, or at a gap of 0 or
    less. Source: amini:24.
    """
    value = partial(_of_scores, a=positive("alpha", a))
    return PerUnit(value=value, formula=f"{a}·log(margin)")
