"""Following a loss by its gradient alone: kinks, coupled pairs, finite samples."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition, positive
from collimate.axes import Method
from collimate.lab.fit import require_pairs, shares
from collimate.lab.pairs import drawn_pairs, every_pair
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

    For what `fit` refuses: losses with kinks, and methods that couple pairs. The rate falls to 0
    along half a cosine, so that the end lies within about `rate`/`steps` nats of where it leads.

    Args: pairs, of `world.sample_pairs`; default: the population. initial, log-probs to start from
    (default: the reference). rate, the first step's size in nats.

    Errors: BadComposition for a method that reads another view than pairs, or that couples pairs
    where none were drawn. BadConfig unless rate is above 0. Source: loshchilov:19 for the rate.

    >>> from collimate.methods import hinge_norm
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> policy = descend(world, hinge_norm(0.5), steps=200)  # to beta·(u_w - u_l) = 1
    >>> round((policy[0, 0] - policy[0, 1]).item(), 1)
    2.0
    """
    require_pairs(method)
    if pairs is None and method.needs.couples != "example":
        raise BadComposition(
            f"method '{method.name}' couples the pairs of a batch, and those of the population have "
            "unequal weights; give pairs=world.sample_pairs(...)"
        )
    labelled = every_pair(world) if pairs is None else drawn_pairs(world, pairs)
    start = world.reference_log_probs if initial is None else initial.detach().double()
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=positive("rate", rate))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        view = labelled.under(torch.log_softmax(logits, dim=-1))
        shares(method.terms(view, method.init())).sum().backward()
        optimizer.step()
        schedule.step()
    return torch.log_softmax(logits.detach(), dim=-1)
