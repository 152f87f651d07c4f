"""Targets that depend on the data: what beta·h is compared with."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, BadConfig, positive
from collimate._types import PairLogProbs
from collimate.axes import PerUnit
from collimate.margins._pairs import column, lengths
from collimate.margins.margin import Margin


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


def _of_gaps(view: PairLogProbs, *, a: float) -> Float[Tensor, " pair"]:
    return a * column(view, "margin")


def score_target(a: float) -> PerUnit:
    """a·(R_w - R_l), the scores' gap in the column `margin`, of any sign: a reward gap to be reached.

    Errors: BadConfig unless a is above 0; BadComposition without the column. Source: amini:24 (its
    offset, without the log).
    """
    return PerUnit(value=partial(_of_gaps, a=positive("alpha", a)), formula=f"{a}·margin")


def _elastic(view: PairLogProbs, *, gamma: float, sigma: float) -> Float[Tensor, " pair"]:
    return gamma + sigma * column(view, "noise")


def elastic(margin: Margin, gamma: float, sigma: float) -> Margin:
    """The same h with the target gamma + sigma·noise, a new standard normal number per pair and step.

    A target that gives way here and asks for more there, so that no pair is fitted to one number.
    gamma is its mean, held-out losses are measured there; sigma > 0 its standard deviation.

    Errors: BadConfig for gamma or sigma that is not finite, sigma of 0 or less, a margin with a target of
    its own, and one that does not read pairs; BadComposition for views without the column `noise`.
    Source: boutros:22, of margins between classes.

    >>> from collimate.margins import log_ratio_gap
    >>> elastic(log_ratio_gap, 0.5, 0.1).name
    'elastic(log_ratio_gap, 0.5, 0.1)'
    """
    if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not math.isfinite(gamma):
        raise BadConfig(f"gamma must be a finite number, got {gamma!r}")
    if margin.target_of is not None or margin.constant != 0:
        raise BadConfig(f"the margin '{margin.name}' has a target already: give one without")
    if margin.needs.view != "pairs":
        raise BadConfig(
            f"the margin '{margin.name}' reads {margin.needs.view}, and noise is drawn for pairs: give a "
            "margin of pairs"
        )
    value = partial(_elastic, gamma=gamma, sigma=positive("sigma", sigma))
    return replace(
        margin,
        name=f"elastic({margin.name}, {gamma:g}, {sigma:g})",
        target_of=PerUnit(value=value, formula=f"{gamma} + {sigma}·noise"),
        needs=replace(margin.needs, noise=True),
        source=f"{margin.source}; boutros:22",
    )
