"""Following a loss by its gradient alone: kinks, coupled pairs, finite samples."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, positive
from collimate.axes import Method
from collimate.lab._reduce import shares
from collimate.lab.pairs import drawn_pairs
from collimate.lab.population import Units, population
from collimate.lab.world import SampledPairs, World


def descend(
    world: World,
    method: Method,
    pairs: SampledPairs | None = None,
    *,
    initial: Float[Tensor, "context response"] | None = None,
    steps: int = 2000,
    rate: float = 0.1,
) -> Float[Tensor, "context response"]:
    """Log-probs (nats) after `steps` steps of Adam on one logit per response, all pairs in each step.

    For what `fit` refuses, losses with kinks and methods that sort the units of a step, and for methods
    whose state or reference follows the steps: here both do, each step one of the whole population. The
    rate falls to 0 along half a cosine, so that the end lies within about `rate`/`steps` nats of where
    it leads. A reference is blended logit by logit.

    Args: pairs, of `world.sample_pairs`; default: the population. initial, log-probs to start from
    (default: the reference). rate, the first step's size in nats.

    Errors: BadComposition for a method that reads another view than the pairs that are given, and as in
    `population` where none are. BadConfig unless rate is above 0. Source: loshchilov:19 for the rate.

    >>> from collimate.methods import hinge_norm
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> policy = descend(world, hinge_norm(0.5), steps=200)  # to beta·(u_w - u_l) = 1
    >>> round((policy[0, 0] - policy[0, 1]).item(), 1)
    2.0
    """
    if pairs is None and method.needs.couples == "batch" and method.init():
        raise BadComposition(
            f"method '{method.name}' keeps statistics of its steps, and the pairs of the population have "
            "unequal weights; give pairs=world.sample_pairs(...)"
        )
    if pairs is not None and method.needs.view != "pairs":
        raise BadComposition(
            f"method '{method.name}' reads a view of {method.needs.view}, and pairs were given: leave "
            "them out"
        )

    def seen_against(reference: Float[Tensor, "context response"]) -> Units:
        here = replace(world, reference_log_probs=reference)
        return population(here, method) if pairs is None else drawn_pairs(here, pairs)

    reference, moves = world.reference_log_probs, method.needs.reference_update
    units, state = seen_against(reference), method.init()
    start = reference if initial is None else initial.detach().double()
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=positive("rate", rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        view = units.under(torch.log_softmax(logits, dim=-1))
        shares(method.terms(view, state)).sum().backward()
        state = method.update(view, state)
        optimizer.step()
        schedule.step()
        if moves is not None and (step + 1) % moves.every == 0:
            blended = moves.alpha * logits.detach() + (1 - moves.alpha) * reference
            reference = torch.log_softmax(blended, dim=-1)
            units = seen_against(reference)
    return torch.log_softmax(logits.detach(), dim=-1)
