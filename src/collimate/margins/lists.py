"""Margins of scored lists."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, positive
from collimate._types import ListLogProbs
from collimate.axes import Divergence, Needs, PerUnit
from collimate.margins.margin import Margin


def _require_several(view: ListLogProbs) -> None:
    """Errors: BadComposition for a list of one answer."""
    if (view.sizes() < 2).any():
        raise BadComposition(
            "this method needs two answers or more in each list, and one has fewer: leave it out, or use "
            "direct_advantage_po, which reads each answer by itself"
        )


def _require_rankings(view: ListLogProbs) -> None:
    """Errors: BadComposition for a list of one answer, and for equal scores within a list."""
    _require_several(view)
    if (view.ranked(view.score, beyond=math.nan).diff() == 0).any():
        raise BadComposition(
            "a method of rankings needs different scores within a list, and two are equal: leave one "
            "of the answers out, or use a method of scores"
        )


def _ranked(view: ListLogProbs, divergence: Divergence) -> Float[Tensor, "list rank"]:
    _require_rankings(view)
    return view.ranked(view.log_ratios(), beyond=-math.inf)


def _over_worst(
    view: ListLogProbs, divergence: Divergence, *, weight: float
) -> Float[Tensor, " list"]:
    _require_several(view)
    rows, sizes = torch.arange(len(view)), view.sizes()
    scores = view.ranked(view.score, beyond=math.nan)
    if (scores[rows, sizes - 1] == scores[rows, sizes - 2]).any():
        raise BadComposition(
            "this method sets one worst answer against the others of its list, and two share the least "
            "score: leave one of them out, or use a method of scores"
        )
    ratio, last = view.ranked(view.log_ratios(), beyond=0.0), view.sizes() - 1
    worst = ratio.gather(1, last[:, None]).squeeze(1)
    return (ratio.sum(-1) - worst) / last.to(ratio.dtype) - weight * worst


def _each(view: ListLogProbs, divergence: Divergence) -> Float[Tensor, " answer"]:
    return view.log_ratios()


def _advantage(view: ListLogProbs) -> Float[Tensor, " answer"]:
    return view.score


ranked_log_ratios = Margin(
    name="ranked_log_ratios",
    value=_ranked,
    needs=Needs(view="lists"),
    compares=False,
    formula="u_k",
    source="rafailov:23 app. A.3",
)
"""h_k = u of the answer with the k-th best score, k = 1, 2, ... (nats); -inf beyond a list's end.

For the loss `plackett_luce`. Errors: BadComposition for equal scores. Source: rafailov:23 app. A.3.
"""

scored_log_ratio = Margin(
    name="scored_log_ratio",
    value=_each,
    needs=Needs(view="lists"),
    compares=False,
    target_of=PerUnit(value=_advantage, formula="score"),
    formula="u",
    source="liu:24c",
)
"""h = u of each answer by itself (nats), its target the answer's score. Source: liu:24c."""


def mean_over_worst_log_ratio_gap(weight: float = 1.0) -> Margin:
    """h = mean of u over all answers but the worst - weight·u of the worst (nats), per list.

    Errors: BadConfig unless weight is finite and above 0; BadComposition for a list of one answer, or
    two worst ones. Source: duan:24.

    >>> mean_over_worst_log_ratio_gap(0.5).name
    'mean_over_worst_log_ratio_gap(0.5)'
    """
    return Margin(
        name=f"mean_over_worst_log_ratio_gap({positive('weight', weight):g})",
        value=partial(_over_worst, weight=weight),
        needs=Needs(view="lists"),
        compares=False,
        formula=f"u_others - {weight}·u_worst",
        source="duan:24",
    )
