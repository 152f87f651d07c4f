"""Norms and inner product of the gradients of a pair's two log-probs, over chosen parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadData
from collimate.diagnostics._shapes import require_shape, require_some


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientProducts:
    """‖g_w‖², ‖g_l‖² and <g_w, g_l>, g the gradient of the log-prob of an answer; float64.

    cosine: <g_w, g_l>/(‖g_w‖·‖g_l‖), in [-1, 1], NaN where a gradient is 0.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> GradientProducts(norm_w_squared=4 * one, norm_l_squared=one, inner=one).cosine
    tensor([0.5000], dtype=torch.float64)
    """

    norm_w_squared: Float[Tensor, "*pair"]
    norm_l_squared: Float[Tensor, "*pair"]
    inner: Float[Tensor, "*pair"]

    @property
    def cosine(self) -> Float[Tensor, "*pair"]:
        """How alike the two gradients are, in [-1, 1]."""
        return self.inner / (self.norm_w_squared.sqrt() * self.norm_l_squared.sqrt())


def exact_gradients(
    log_prob_chosen: Float[Tensor, " pair"],
    log_prob_rejected: Float[Tensor, " pair"],
    parameters: Iterable[Tensor],
) -> GradientProducts:
    """‖∇log p(y_w)‖², ‖∇log p(y_l)‖² and <∇log p(y_w), ∇log p(y_l)> of each pair.

    log_prob_*: summed over the answer, with their graph (nats). parameters: those the gradient is
    taken over; each needs a gradient. Two backward passes per pair, products in float64; no `.grad`
    is written and the graph is kept.

    Errors: BadData without pairs or parameters, or where one is not differentiable. Source: yuan:25.

    >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> found = exact_gradients((3 * theta[0])[None], theta.sum()[None], [theta])
    >>> found.norm_w_squared.item(), found.norm_l_squared.item(), found.inner.item()
    (9.0, 2.0, 3.0)
    """
    over = list(parameters)
    require_some("log_prob_chosen", log_prob_chosen, "pair")
    require_shape("log_prob_rejected", log_prob_rejected, log_prob_chosen.shape, "pair")
    if not over or not all(parameter.requires_grad for parameter in over):
        raise BadData("give at least one parameter, all of which require a gradient")
    if not (log_prob_chosen.requires_grad and log_prob_rejected.requires_grad):
        raise BadData(
            "the log-probs carry no graph: compute them from the parameters, outside no_grad"
        )
    products: list[Tensor] = []
    for chosen, rejected in zip(log_prob_chosen, log_prob_rejected, strict=True):
        g_w, g_l = _gradient(chosen, over), _gradient(rejected, over)
        products.append(torch.stack([_dot(g_w, g_w), _dot(g_l, g_l), _dot(g_w, g_l)]))
    table = torch.stack(products, dim=1)
    return GradientProducts(norm_w_squared=table[0], norm_l_squared=table[1], inner=table[2])


def _gradient(log_prob: Tensor, over: list[Tensor]) -> list[Tensor | None]:
    """Of one log-prob; None for parameters that it does not depend on."""
    return list(torch.autograd.grad(log_prob, over, retain_graph=True, allow_unused=True))


def _dot(a: list[Tensor | None], b: list[Tensor | None]) -> Float[Tensor, ""]:
    total = torch.zeros((), dtype=torch.float64)
    for x, y in zip(a, b, strict=True):
        if x is not None and y is not None:
            total = total + (x.double() * y.double()).sum().cpu()
    return total
