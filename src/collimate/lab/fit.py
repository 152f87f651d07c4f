"""Minimising a method's population loss over all policies of a world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, NotConverged
from collimate.axes import Method, Term
from collimate.lab.newton import Local, minimise
from collimate.lab.pairs import every_pair
from collimate.lab.world import World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Where the minimiser stopped.

    log_probs: the policy (nats, float64). gradient_norm: largest Euclidean norm, over contexts, of
    the gradient of the context's loss with respect to its logits. iterations: steps tried.
    loss: population loss, mean over contexts.
    """

    log_probs: Float[Tensor, "context response"]
    gradient_norm: float
    iterations: int
    loss: float


def fit(
    world: World,
    method: Method,
    *,
    initial: Float[Tensor, "context response"] | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 2000,
) -> Fit:
    """The policy that minimises `method`'s population loss in `world`, one logit per response.

    The population loss is the mean of the method's loss over contexts, pairs drawn by the pair law,
    and labels; the method sees one view of all pairs, their probabilities in the column `weight`,
    the gap of rewards in `margin`, and a response's log-prob shared out evenly among its tokens.
    Newton's method in float64 with the exact Hessian, damped, in steps of at most 4 nats, each
    context by itself. A method with state is fitted in its initial state. Of a loss with several
    minima it finds one near `initial`.

    Args: initial, log-probs to start from (default: the reference); where a small beta does not
    converge, start from the fit at a larger one. tolerance, of the gradient norm. max_iterations,
    steps to try.

    Errors: NotConverged if the gradient norm stays above `tolerance`. BadComposition for a method
    that reads another view than pairs, or that couples pairs.

    >>> from collimate.methods import dpo
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> fit(world, dpo(beta=1.0)).log_probs.exp()
    tensor([[0.7311, 0.2689]], dtype=torch.float64)
    """
    require_pairs(method)
    _require_apart(method)
    pairs, contexts = every_pair(world), len(world.reward)
    places = (pairs.chosen, pairs.rejected)

    def local(logits: Float[Tensor, "context response"]) -> Local:
        log_probs = torch.log_softmax(logits, dim=-1)
        flat = log_probs.flatten()
        chosen, rejected = (flat[place].requires_grad_() for place in places)
        values = shares(method.terms(pairs.at(chosen, rejected), method.init())) * contexts
        return _derivatives(values, (chosen, rejected), places, log_probs)

    start = world.reference_log_probs if initial is None else initial.detach().double()
    logits, norm, iterations, loss = minimise(local, start, tolerance, max_iterations)
    if not norm <= tolerance:
        raise NotConverged(
            f"lab.fit of '{method.name}' stopped after {iterations} iterations with a gradient "
            f"norm of {norm:.3g}, above the tolerance {tolerance:.3g}: start from the fit at a "
            "larger beta (initial=...), raise max_iterations, or check that the loss is smooth and "
            "has a minimum on this world (rDPO on clean labels may have none); lab.descend follows "
            "a loss with kinks, a hinge for one"
        )
    return Fit(
        log_probs=torch.log_softmax(logits, dim=-1),
        gradient_norm=norm,
        iterations=iterations,
        loss=loss,
    )


def require_pairs(method: Method) -> None:
    """BadComposition for a method that reads another view than pairs."""
    if method.needs.view != "pairs":
        raise BadComposition(
            f"the lab enumerates pairs, and method '{method.name}' reads a view of "
            f"{method.needs.view}; fit a method of pairs"
        )


def _require_apart(method: Method) -> None:
    if method.needs.couples != "example":
        raise BadComposition(
            f"method '{method.name}' couples the pairs of a batch, so its population loss is not a "
            "mean over pairs; use lab.descend on pairs of `world.sample_pairs`"
        )


def shares(terms: Mapping[str, Term]) -> Float[Tensor, " pair"]:
    """Each pair's share of the objective Σ c·Σ values·weight / Σ weight."""
    each = [c * values * (weight / weight.sum()) for c, values, weight in terms.values()]
    return torch.stack(each).sum(0)


def _derivatives(
    values: Float[Tensor, " pair"],
    at: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]],
    index: tuple[Tensor, Tensor],
    log_probs: Float[Tensor, "context response"],
) -> Local:
    """Loss of each context, its gradient and exact Hessian with respect to the logits.

    A pair's loss reads two log-probs, so two more backward passes give every second derivative.
    """
    contexts, responses = log_probs.shape
    loss = values.new_zeros(contexts).index_add(0, index[0] // responses, values.detach())
    first = _gradients(values, at)
    second = [_gradients(slope, at) for slope in first]
    gradient = log_probs.new_zeros(contexts * responses)
    hessian = log_probs.new_zeros(contexts * responses * responses)
    for i in range(2):
        gradient = gradient.index_add(0, index[i], first[i].detach())
        for j in range(2):
            cell = index[i] * responses + index[j] % responses
            hessian = hessian.index_add(0, cell, second[i][j].detach())
    gradient = gradient.reshape(contexts, responses)
    hessian = hessian.reshape(contexts, responses, responses)
    # Through log-softmax: d log p_y / d logit_k = [y = k] - p_k, and every log p_y has the second
    # derivative -(diag p - p·pᵀ).
    p = log_probs.exp()
    total = gradient.sum(-1)
    outer = p[:, :, None] * p[:, None, :]
    rows = hessian.sum(-1)
    cross = p[:, :, None] * rows[:, None, :]
    curvature = hessian - cross - cross.mT + rows.sum(-1)[:, None, None] * outer
    curvature = curvature - total[:, None, None] * (torch.diag_embed(p) - outer)
    return Local(loss=loss, gradient=gradient - total[:, None] * p, hessian=curvature)


def _gradients(
    values: Float[Tensor, " pair"], at: tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]
) -> tuple[Tensor, ...]:
    """d Σ values / d at, differentiable, zero where `values` does not depend on it."""
    if not values.requires_grad:
        return tuple(torch.zeros_like(x) for x in at)
    return torch.autograd.grad(
        values.sum(), at, create_graph=True, allow_unused=True, materialize_grads=True
    )
