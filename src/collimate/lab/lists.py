"""A world's lists of answers as methods see them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import ListLogProbs
from collimate.lab.world import World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredLists:
    """Lists with their scores, made by `every_list`.

    places: of the answers of each list, rank by rank, in the flattened table [context, response]. view:
    what a method sees of the reference; its column `weight` is the probability of the list.
    """

    places: tuple[Int[Tensor, " list"], ...]
    view: ListLogProbs

    def under(self, log_probs: Float[Tensor, "context response"]) -> ListLogProbs:
        """What a method sees of this policy; gradients flow back to `log_probs`."""
        return self.at(*(log_probs.flatten()[place] for place in self.places))

    def at(self, *policy: Float[Tensor, " list"]) -> ListLogProbs:
        """The same from each answer's own log-prob, rank by rank."""
        return replace(self.view, policy=torch.stack(policy, -1).flatten())


def every_list(world: World) -> ScoredLists:
    """Every list of `World.list_size` answers, in every order it can be ranked in.

    Its answers are drawn by the pair law, all different; the ranking is Plackett-Luce's,
    Π_k e^r_k / Σ_{j>=k} e^r_j, its scores 0, -1, -2, ... The score of a list's only answer is its
    advantage, r - E_q[r].

    Errors: BadComposition for a pair law that is not of independent draws, and for rankings where the
    labels have flips or a preference of their own.

    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> every_list(world).view.columns["weight"]
    tensor([0.7311, 0.2689], dtype=torch.float64)
    """
    size = world.list_size
    if size > 1 and not world.is_bradley_terry:
        raise BadComposition(
            "rankings are of Plackett-Luce, and this world flips labels or has a preference of its "
            "own: leave both out, or fit a method of pairs"
        )
    responses = world.reward.shape[-1]
    order = torch.tensor(list(itertools.permutations(range(responses), size)))
    reward = world.reward[:, order]
    behind = reward.flip(-1).logcumsumexp(-1).flip(-1)
    log_law = answer_law(world).log()[:, order].sum(-1) + (reward - behind).sum(-1)
    law = log_law.softmax(-1)
    context, row = law.nonzero().unbind(-1)
    places = context[:, None] * responses + order[row]
    q = world.reference_log_probs.exp()
    advantage = world.reward - (q * world.reward).sum(-1, keepdim=True)
    ranks = -torch.arange(size, dtype=torch.float64).expand(places.shape)
    flat = places.flatten()
    view = ListLogProbs(
        policy=world.reference_log_probs.flatten()[flat],
        reference=world.reference_log_probs.flatten()[flat],
        score=(advantage.flatten()[places] if size == 1 else ranks).flatten(),
        group=torch.arange(len(places)).repeat_interleave(size),
        tokens=world.lengths().flatten()[flat],
        columns={"weight": law[context, row]},
    )
    return ScoredLists(places=places.unbind(-1), view=view)


def answer_law(world: World) -> Float[Tensor, "context response"]:
    """Law of single answers, of which those of a list are drawn: the pair law's, or uniform.

    Errors: BadComposition for a pair law that is not of two independent draws.

    >>> answer_law(World(torch.tensor([[0.2, 0.8]]).log(), torch.tensor([[1.0, 0.0]])))
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    if world.pair_law is None:
        return torch.ones_like(world.reward) / world.reward.shape[-1]
    if world.pair_law.dim() == 3:
        raise BadComposition(
            "the answers of a list are drawn one by one, and this world's pair_law is of pairs: give "
            "it as [context, response]"
        )
    return world.pair_law
