"""What the log-probs of judged answers say."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._types import ListLogProbs, PairLogProbs, ThumbLogProbs, View
from collimate.diagnostics._won import won


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
        "likelihood_accuracy": won(view.policy_chosen, view.policy_rejected),
        "log_prob_chosen": view.policy_chosen,
        "log_prob_rejected": view.policy_rejected,
    }
    if view.reference_chosen is not None:
        chosen, rejected = view.log_ratios()
        numbers |= {
            "reward_accuracy": won(chosen, rejected),
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
            "reward_accuracy": won(view.label * ratio, torch.zeros_like(ratio)),
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
    kept = compared_lists(view)
    numbers = _of_lists(view, view.policy, accuracy="likelihood_accuracy", ends="log_prob")
    if view.reference is not None:
        numbers |= _of_lists(view, view.log_ratios(), accuracy="reward_accuracy", ends="log_ratio")
    return {name: value[kept] for name, value in numbers.items()}


def compared_lists(view: ListLogProbs) -> Bool[Tensor, " list"]:
    """Which lists hold two answers of different scores.

    >>> tie = torch.tensor([1.0, 1.0])
    >>> compared_lists(ListLogProbs(policy=-tie, score=tie, group=torch.tensor([0, 0])))
    tensor([False])
    """
    return (view.ranked(view.score, beyond=math.nan).diff() < 0).any(-1)


def _of_lists(
    view: ListLogProbs, value: Float[Tensor, " answer"], *, accuracy: str, ends: str
) -> dict[str, Float[Tensor, " list"]]:
    """Share of each list's couples of different scores in order of value, and its best and worst."""
    score, table = (view.ranked(x, beyond=math.nan) for x in (view.score, value))
    above = score[:, :, None] > score[:, None, :]
    right = torch.where(above, won(table[:, :, None], table[:, None, :]), 0.0)
    return {
        accuracy: right.sum((1, 2)) / above.sum((1, 2)),
        f"{ends}_chosen": table[:, 0],
        f"{ends}_rejected": table.gather(1, view.sizes()[:, None] - 1).squeeze(1),
    }
