"""A world's labelled pairs as methods see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._types import PairLogProbs, TokenLogProbs
from collimate.lab.world import SampledPairs, World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPairs:
    """Pairs with their labels, made by `every_pair` or `drawn_pairs`.

    chosen, rejected: places of the answers in the flattened table [context, response]. view: what a
    method sees of the reference; its columns are `weight` and `margin`, r(chosen) - r(rejected).
    """

    chosen: Int[Tensor, " pair"]
    rejected: Int[Tensor, " pair"]
    view: PairLogProbs

    def under(self, log_probs: Float[Tensor, "context response"]) -> PairLogProbs:
        """What a method sees of this policy; gradients flow back to `log_probs`."""
        flat = log_probs.flatten()
        return self.at(flat[self.chosen], flat[self.rejected])

    def at(self, chosen: Float[Tensor, " pair"], rejected: Float[Tensor, " pair"]) -> PairLogProbs:
        """The same from each pair's own log-probs, which need not be one policy's."""
        assert self.view.chosen_tokens is not None
        assert self.view.rejected_tokens is not None
        lengths = _interleaved(self.view.chosen_tokens, self.view.rejected_tokens)
        sequence = torch.arange(len(lengths)).repeat_interleave(lengths.long())
        tokens = TokenLogProbs(  # each token has an equal share of its response
            log_prob=(_interleaved(chosen, rejected) / lengths)[sequence],
            reference=(_interleaved(*self.view.reference()) / lengths)[sequence],
            weight=torch.ones(len(sequence), dtype=lengths.dtype),
            sequence=sequence,
            example=torch.arange(len(self.view)).repeat_interleave(2),
        )
        return replace(self.view, policy_chosen=chosen, policy_rejected=rejected, tokens=tokens)


def every_pair(world: World) -> LabelledPairs:
    """Every pair that can be drawn with every label it can get; `weight` is its probability.

    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> every_pair(world).view.columns["weight"]
    tensor([0.7311, 0.2689], dtype=torch.float64)
    """
    labels = world.labels()
    context, chosen, rejected = labels.nonzero().unbind(-1)
    return _pairs(world, context, chosen, rejected, labels[context, chosen, rejected])


def drawn_pairs(world: World, pairs: SampledPairs) -> LabelledPairs:
    """Pairs of `World.sample_pairs`, each with weight 1.

    >>> import numpy as np
    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> len(drawn_pairs(world, world.sample_pairs(3, np.random.default_rng(0))).view)
    3
    """
    context, chosen, rejected = (torch.as_tensor(index) for index in pairs)
    return _pairs(world, context, chosen, rejected, torch.ones(len(context), dtype=torch.float64))


def _pairs(
    world: World,
    context: Int[Tensor, " pair"],
    chosen: Int[Tensor, " pair"],
    rejected: Int[Tensor, " pair"],
    weight: Float[Tensor, " pair"],
) -> LabelledPairs:
    responses = world.reward.shape[-1]
    chosen, rejected = context * responses + chosen, context * responses + rejected
    reference, reward = world.reference_log_probs.flatten(), world.reward.flatten()
    lengths = world.lengths().flatten()
    view = PairLogProbs(
        policy_chosen=reference[chosen],
        policy_rejected=reference[rejected],
        reference_chosen=reference[chosen],
        reference_rejected=reference[rejected],
        chosen_tokens=lengths[chosen],
        rejected_tokens=lengths[rejected],
        columns={"weight": weight, "margin": reward[chosen] - reward[rejected]},
    )
    return LabelledPairs(chosen=chosen, rejected=rejected, view=view)


def _interleaved(chosen: Tensor, rejected: Tensor) -> Float[Tensor, " sequence"]:
    return torch.stack([chosen, rejected], -1).flatten()
