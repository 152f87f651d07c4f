"""Gradient entanglement: why both answers of a pair move together under a margin loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate.diagnostics._shapes import require_shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entanglement:
    """What one plain gradient step does to a pair, to first order; float64.

    change_chosen, change_rejected: change of the log-prob per unit of learning rate (nats).
    limit: the inner product below which both move as wanted, NaN where a slope pushes its answer
    the wrong way or nothing is pushed. as_wanted: the chosen answer rises and the rejected falls.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> found = Entanglement(change_chosen=one, change_rejected=-one, limit=one)
    >>> found.as_wanted
    tensor([True])
    """

    change_chosen: Float[Tensor, "*pair"]
    change_rejected: Float[Tensor, "*pair"]
    limit: Float[Tensor, "*pair"]

    @property
    def as_wanted(self) -> Bool[Tensor, "*pair"]:
        """Whether the chosen answer rises and the rejected one falls; False where one stands still."""
        return (self.change_chosen > 0) & (self.change_rejected < 0)


def entanglement(
    norm_w_squared: Float[Tensor, "*pair"],
    norm_l_squared: Float[Tensor, "*pair"],
    inner: Float[Tensor, "*pair"],
    d_w: float | Float[Tensor, "*pair"] = 1.0,
    d_l: float | Float[Tensor, "*pair"] = 1.0,
) -> Entanglement:
    """What a step on one pair's loss does to its two log-probs, from three products of gradients.

    With g_w, g_l the gradients of log p(y_w), log p(y_l), d_w = -∂L/∂log p(y_w) and
    d_l = ∂L/∂log p(y_l), a step θ - eta·∇L moves θ by eta·(d_w·g_w - d_l·g_l), hence

        Δ log p(y_w)/eta = d_w·‖g_w‖² - d_l·<g_w, g_l>
        Δ log p(y_l)/eta = d_w·<g_w, g_l> - d_l·‖g_l‖²

    and for d_w, d_l >= 0 both move as wanted iff <g_w, g_l> < min(d_w/d_l·‖g_w‖², d_l/d_w·‖g_l‖²).
    First order, plain gradient steps: an optimiser with a preconditioner follows other products.

    *_squared, inner: of `exact_gradients` or `head_gradients`. d_w, d_l: of `loss_slopes`, equal for
    DPO. They carry signs: a loss that has passed its target (IPO) pushes the other way.

    Errors: BadData for shapes that differ. Source: yuan:25.

    >>> w, l, inner = (torch.tensor([x], dtype=torch.float64) for x in (1.0, 4.0, 1.5))
    >>> found = entanglement(w, l, inner)
    >>> found.change_chosen.item(), found.change_rejected.item(), found.as_wanted.item()
    (-0.5, -2.5, False)
    """
    chosen, rejected, both = (x.double() for x in (norm_w_squared, norm_l_squared, inner))
    require_shape("norm_l_squared", rejected, chosen.shape, "pair")
    require_shape("inner", both, chosen.shape, "pair")
    push, pull = (_slope(name, d, chosen) for name, d in (("d_w", d_w), ("d_l", d_l)))
    pushes = (push >= 0) & (pull >= 0) & (push + pull > 0)
    limit = torch.minimum(push / pull * chosen, pull / push * rejected)
    return Entanglement(
        change_chosen=push * chosen - pull * both,
        change_rejected=push * both - pull * rejected,
        limit=limit.where(pushes, torch.full_like(limit, math.nan)),
    )


def _slope(name: str, d: float | Tensor, like: Tensor) -> Float[Tensor, "*pair"]:
    if not isinstance(d, Tensor):
        return torch.full_like(like, d)
    if d.dim():
        require_shape(name, d, like.shape, "pair")
    return d.detach().double().expand_as(like)
