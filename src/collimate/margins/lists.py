"""Margins of scored lists."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition, positive
from collimate._types import ListLogProbs
from collimate.axes import Divergence, Needs, PerUnit
from collimate.margins.margin import Margin


def _places(view: ListLogProbs) -> tuple[Int[Tensor, " answer"], Int[Tensor, " answer"]]:
    """The answers, list by list and best first, and the rank of each."""
    falling = torch.argsort(view.score, descending=True, stable=True)
    order = falling[torch.argsort(view.group[falling], stable=True)]
    sizes = torch.bincount(view.group, minlength=len(view))
    first = sizes.cumsum(0) - sizes
    rank = torch.arange(len(order), device=order.device) - first[view.group[order]]
    score, group = view.score[order], view.group[order]
    if ((score[1:] == score[:-1]) & (group[1:] == group[:-1])).any():
        raise BadComposition(
            "a method of rankings needs different scores within a list, and two are equal: leave one "
            "of the answers out, or use a method of scores"
        )
    return order, rank


def _require_several(view: ListLogProbs) -> None:
    if (torch.bincount(view.group, minlength=len(view)) < 2).any():
        raise BadComposition(
            "this method needs two answers or more in each list, and one has fewer: leave it out, or use "
            "direct_advantage_po, which reads each answer by itself"
        )


def _ranked(view: ListLogProbs, divergence: Divergence) -> Float[Tensor, "list rank"]:
    order, rank = _places(view)
    _require_several(view)
    ratio = view.log_ratios()
    widest = int(rank.max()) + 1
    table = torch.full((len(view), widest), -math.inf, dtype=ratio.dtype, device=ratio.device)
    return table.index_put((view.group[order], rank), ratio[order])


def _over_worst(
    view: ListLogProbs, divergence: Divergence, *, weight: float
) -> Float[Tensor, " list"]:
    order, rank = _places(view)
    ratio, group = view.log_ratios()[order], view.group[order]
    sizes = torch.bincount(group, minlength=len(view))
    _require_several(view)
    worst = rank == sizes[group] - 1
    share = torch.where(worst, -weight, 1 / (sizes[group] - 1).to(ratio.dtype))
    return ratio.new_zeros(len(view)).index_add(0, group, share.to(ratio.dtype) * ratio)


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
    equal scores. Source: duan:24.

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
