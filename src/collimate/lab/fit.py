"""Minimising a method's population loss over all policies of a world."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import NotConverged
from collimate.axes import Method
from collimate.lab._reduce import shares
from collimate.lab.newton import Local, minimise
from collimate.lab.population import population
from collimate.lab.settle import settle
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

    The population loss is the mean of the method's loss over contexts and over pairs, labelled answers
    or lists with their labels, as `every_pair`, `every_thumb` and `every_list` enumerate them; the
    method sees one view of all, their probabilities in the column `weight`, and a response's log-prob
    shared out evenly among its tokens. A method with state is fitted in its initial state, a reference
    that moves where it is. Of a loss with several minima it finds one near `initial`.

    Newton's method in float64 with the exact Hessian, damped, in steps of at most 4 nats, each context
    by itself. Of a method that couples the units of a step or reads signals, parts may take no
    gradient: it is followed to where what is left of the gradient vanishes, and training stands still.

    Args: initial, log-probs to start from (default: the reference); where a small beta does not
    converge, start from the fit at a larger one. tolerance, of the gradient norm. max_iterations,
    steps to try.

    Errors: NotConverged if the gradient norm stays above `tolerance`. BadComposition for a method
    of another view, or that couples units in another way than by means in which weights count, and for
    signals of answers of several tokens.

    >>> from collimate.methods import dpo
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> fit(world, dpo(beta=1.0)).log_probs.exp()
    tensor([[0.7311, 0.2689]], dtype=torch.float64)
    """
    units, contexts = population(world, method), len(world.reward)

    def local(logits: Float[Tensor, "context response"]) -> Local:
        log_probs = torch.log_softmax(logits, dim=-1)
        flat = log_probs.flatten()
        answers = tuple(flat[place].requires_grad_() for place in units.places)
        values = shares(method.terms(units.at(*answers), method.init())) * contexts
        return _derivatives(values, answers, units.places, log_probs)

    def whole(logits: Float[Tensor, "context response"]) -> tuple[Tensor, Tensor]:
        leaf = logits.detach().requires_grad_()
        view = units.under(torch.log_softmax(leaf, dim=-1))
        loss = shares(method.terms(view, method.init())).sum()
        return loss.detach(), contexts * torch.autograd.grad(loss, leaf)[0]

    start = world.reference_log_probs if initial is None else initial.detach().double()
    if method.needs.couples == "batch" or method.needs.signals:
        logits, norm, iterations = settle(lambda x: whole(x)[1], start, tolerance, max_iterations)
        loss = whole(logits)[0].item()
    else:
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


def _derivatives(
    values: Float[Tensor, " unit"],
    at: tuple[Float[Tensor, " answer"], ...],
    index: tuple[Int[Tensor, " answer"], ...],
    log_probs: Float[Tensor, "context response"],
) -> Local:
    """Loss of each context, its gradient and exact Hessian with respect to the logits.

    A unit's loss reads the log-probs of its own answers alone, n of them (`index` holds their places,
    the n-th answers together), so n more backward passes give every second derivative.
    """
    contexts, responses = log_probs.shape
    owner = index[0] // responses
    if len(values) != len(owner):  # a value per answer of a list
        values = values.reshape(len(owner), -1).sum(-1)
    loss = values.new_zeros(contexts).index_add(0, owner, values.detach())
    first = _gradients(values, at)
    second = [_gradients(slope, at) for slope in first]
    gradient = log_probs.new_zeros(contexts * responses)
    hessian = log_probs.new_zeros(contexts * responses * responses)
    for i, place in enumerate(index):
        gradient = gradient.index_add(0, place, first[i].detach())
        for j, other in enumerate(index):
            cell = place * responses + other % responses
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
    values: Float[Tensor, " unit"], at: tuple[Float[Tensor, " answer"], ...]
) -> tuple[Tensor, ...]:
    """d Σ values / d at, differentiable, zero where `values` does not depend on it."""
    if not values.requires_grad:
        return tuple(torch.zeros_like(x) for x in at)
    return torch.autograd.grad(
        values.sum(), at, create_graph=True, allow_unused=True, materialize_grads=True
    )
