"""What the log-probs of judged answers say."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._types import ListLogProbs, PairLogProbs, ThumbLogProbs, View


def statistics(view: View) -> Mapping[str, Float[Tensor, " unit"]]:
    """What is measured of a view, under the names that its means have in a run's record.

    Of pairs `pair_statistics`, of thumbs `thumb_statistics`, of lists `list_statistics`; nothing of
    a batch or of tokens, which do not say who is compared.
    """
    if isinstance(view, PairLogProbs):
        return pair_statistics(view)
    if isinstance(view, ThumbLogProbs):
        return thumb_statistics(view)
    return list_statistics(view) if isinstance(view, ListLogProbs) else {}


def pair_statistics(view: PairLogProbs) -> Mapping[str, Float[Tensor, " pair"]]:
    """Numbers of each pair, under the names that their means have in a run's record.

    likelihood_accuracy: 1 where the chosen answer is the likelier one, ½ at a tie, else 0.
    log_prob_*: of the whole answer (nats). With a reference also reward_accuracy: the same for the
    log-ratios (all ties where the policy is its reference), and log_ratio_*: policy against
    reference on the given answers (nats); their mean is not a KL, and can be negative.

    >>> view = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-1.0]))
    >>> pair_statistics(view)["likelihood_accuracy"]
    tensor([0.5000])
    """
    numbers = {
        "likelihood_accuracy": _won(view.policy_chosen, view.policy_rejected),
        "log_prob_chosen": view.policy_chosen,
        "log_prob_rejected": view.policy_rejected,
    }
    if view.reference_chosen is not None:
        chosen, rejected = view.log_ratios()
        numbers |= {
            "reward_accuracy": _won(chosen, rejected),
            "log_ratio_chosen": chosen,
            "log_ratio_rejected": rejected,
        }
    return numbers


def thumb_statistics(view: ThumbLogProbs) -> Mapping[str, Float[Tensor, " answer"]]:
    """The names of `pair_statistics` for wanted (chosen) and unwanted (rejected) answers, each alone.

    reward_accuracy: 1 where the sign of an answer's log-ratio is its label, ½ at 0, else 0; there is
    no likelihood_accuracy, for nothing says which answers are to be compared.

    >>> thumb = ThumbLogProbs(policy=torch.tensor([-1.0, -5.0]), label=torch.tensor([1.0, -1.0]))
    >>> thumb_statistics(thumb)["log_prob_rejected"]
    tensor([-5.])
    """
    wanted = view.label > 0
    numbers = {"log_prob_chosen": view.policy[wanted], "log_prob_rejected": view.policy[~wanted]}
    if view.reference is not None:
        ratio = view.log_ratios()
        numbers |= {
            "reward_accuracy": _won(view.label * ratio, torch.zeros_like(ratio)),
            "log_ratio_chosen": ratio[wanted],
            "log_ratio_rejected": ratio[~wanted],
        }
    return numbers


def list_statistics(view: ListLogProbs) -> Mapping[str, Float[Tensor, " list"]]:
    """The names of `pair_statistics`, of each list's best (chosen) and worst (rejected) answer.

    The accuracies count all answers of a list that have another score than each other: the share of
    such couples that log-probs (log-ratios) put in order, ties half. Lists without any are left out:
    `compared_lists`.

    >>> scored = ListLogProbs(policy=torch.tensor([-1.0, -5.0]), score=torch.tensor([2.0, 1.0]),
    ...     group=torch.tensor([0, 0]))
    >>> list_statistics(scored)["likelihood_accuracy"]
    tensor([1.])
    """
    best, worst = (_extreme(sign * view.score, view) for sign in (1, -1))
    kept = compared_lists(view)
    numbers = {
        "likelihood_accuracy": _ordered(view.policy, view),
        "log_prob_chosen": view.policy[best],
        "log_prob_rejected": view.policy[worst],
    }
    if view.reference is not None:
        ratio = view.log_ratios()
        numbers |= {
            "reward_accuracy": _ordered(ratio, view),
            "log_ratio_chosen": ratio[best],
            "log_ratio_rejected": ratio[worst],
        }
    return {name: value[kept] for name, value in numbers.items()}


def compared_lists(view: ListLogProbs) -> Bool[Tensor, " list"]:
    """Which lists hold two answers of different scores.

    >>> tie = torch.tensor([1.0, 1.0])
    >>> compared_lists(ListLogProbs(policy=-tie, score=tie, group=torch.tensor([0, 0])))
    tensor([False])
    """
    best, worst = (_extreme(sign * view.score, view) for sign in (1, -1))
    return view.score[best] > view.score[worst]


def _extreme(score: Float[Tensor, " answer"], view: ListLogProbs) -> Int[Tensor, " list"]:
    """Each list's answer with the largest score, the first of several."""
    falling = torch.argsort(score, descending=True, stable=True)
    order = falling[torch.argsort(view.group[falling], stable=True)]
    sizes = torch.bincount(view.group, minlength=len(view))
    return order[sizes.cumsum(0) - sizes]


def _ordered(value: Float[Tensor, " answer"], view: ListLogProbs) -> Float[Tensor, " list"]:
    """Share of each list's couples of different scores that `value` puts in order; NaN without any."""
    order = torch.argsort(view.group, stable=True)
    sizes = torch.bincount(view.group, minlength=len(view))
    place = (
        torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[view.group[order]]
    )
    table = value.new_full((len(view), int(sizes.max())), torch.nan)
    at = (view.group[order], place)
    values, scores = (table.index_put(at, x[order].to(table)) for x in (value, view.score))
    above = scores[:, :, None] > scores[:, None, :]
    won = torch.where(above, _won(values[:, :, None], values[:, None, :]), 0.0)
    return won.sum((1, 2)) / above.sum((1, 2))


def _won(a: Float[Tensor, ...], b: Float[Tensor, ...]) -> Float[Tensor, ...]:
    return torch.sign(a - b).add(1).div(2)
