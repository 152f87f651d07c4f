"""How hard a method pushes each answer of a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs


class LossSlopes(NamedTuple):
    """d_w = -∂L/∂log p(y_w) and d_l = ∂L/∂log p(y_l) of each pair.

    >>> LossSlopes(d_w=torch.ones(1), d_l=torch.zeros(1)).d_w
    tensor([1.])
    """

    d_w: Float[Tensor, " pair"]
    d_l: Float[Tensor, " pair"]


def loss_slopes(method: Callable[[PairLogProbs], Tensor], view: PairLogProbs) -> LossSlopes:
    """d_w = -∂L/∂log p(y_w) and d_l = ∂L/∂log p(y_l) of each pair, by autograd.

    Above 0 where the method raises the chosen answer and lowers the rejected one; below 0 where it
    does the opposite, as squared losses do past their target.

    method: a `Method`, or any function of pairs that returns one loss per pair. The view's log-probs
    are read as free variables, of the whole answer: its `tokens` are left out. Where pairs are
    coupled, the slopes are those of the sum of losses.

    Errors: BadComposition where the loss depends on neither log-prob. Source: yuan:25.

    >>> view = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-3.0]))
    >>> loss_slopes(lambda pair: 2 * pair.policy_rejected - pair.policy_chosen, view)
    LossSlopes(d_w=tensor([1.]), d_l=tensor([2.]))
    """
    free = replace(
        view,
        policy_chosen=view.policy_chosen.detach().clone().requires_grad_(),
        policy_rejected=view.policy_rejected.detach().clone().requires_grad_(),
        tokens=None,
    )
    with torch.enable_grad():
        total = method(free).sum()
    on_chosen = on_rejected = None
    if total.requires_grad:
        on_chosen, on_rejected = torch.autograd.grad(
            total, (free.policy_chosen, free.policy_rejected), allow_unused=True
        )
    if on_chosen is None and on_rejected is None:
        raise BadComposition(
            "the loss depends on neither log-prob of the pairs, so it has no slopes: give a method "
            "of pairs that reads policy_chosen or policy_rejected"
        )
    zero = torch.zeros_like(view.policy_chosen)
    return LossSlopes(
        d_w=zero if on_chosen is None else -on_chosen,
        d_l=zero if on_rejected is None else on_rejected,
    )
