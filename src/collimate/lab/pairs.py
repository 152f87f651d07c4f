"""A world's labelled pairs as methods see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs, TokenLogProbs
from collimate.axes import Signal
from collimate.lab.world import SampledPairs, World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPairs:
    """Pairs with their labels, made by `every_pair` or `drawn_pairs`.

    chosen, rejected: places of the answers in the flattened table [context, response]; gold: that of an
    answer to imitate. view: what a method sees of the reference; its columns are `weight` and `margin`,
    r(chosen) - r(rejected). reference: log q. signals: that `under` gives with each token.
    """

    chosen: Int[Tensor, " pair"]
    rejected: Int[Tensor, " pair"]
    gold: Int[Tensor, " pair"] | None = None
    view: PairLogProbs
    reference: Float[Tensor, "context response"]
    signals: tuple[Signal, ...] = ()

    @property
    def places(self) -> tuple[Int[Tensor, " pair"], ...]:
        """Places of the two answers, or three."""
        two = (self.chosen, self.rejected)
        return two if self.gold is None else (*two, self.gold)

    def under(self, log_probs: Float[Tensor, "context response"]) -> PairLogProbs:
        """What a method sees of this policy; gradients flow back to `log_probs`.

        Errors: BadComposition for signals of answers of several tokens.
        """
        flat = log_probs.flatten()
        view = self.at(*(flat[place] for place in self.places))
        if not self.signals or view.tokens is None:
            return view
        written = _interleaved(self.chosen, self.rejected)
        if len(view.tokens.sequence) > len(written):
            raise BadComposition(
                "a signal reads the whole vocabulary at each token, and this world has whole answers of "
                "several tokens alone: give it tokens=None, where the answers are the vocabulary"
            )
        known = {signal.name: self._table(signal, log_probs)[written] for signal in self.signals}
        return replace(view, tokens=replace(view.tokens, signals=known))

    def at(
        self,
        chosen: Float[Tensor, " pair"],
        rejected: Float[Tensor, " pair"],
        gold: Float[Tensor, " pair"] | None = None,
    ) -> PairLogProbs:
        """The same from each pair's own log-probs, which need not be one policy's; no signals."""
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
        return replace(
            self.view, policy_chosen=chosen, policy_rejected=rejected, gold=gold, tokens=tokens
        )

    def _table(
        self, signal: Signal, log_probs: Float[Tensor, "context response"]
    ) -> Float[Tensor, " place"]:
        """The signal where each response is the token that was written: they are the vocabulary."""
        contexts, responses = log_probs.shape
        context = torch.arange(contexts).repeat_interleave(responses)
        target = torch.arange(responses).repeat(contexts)
        return signal.value(log_probs[context], target, self.reference[context])


def every_pair(
    world: World, *, gold: bool = False, signals: tuple[Signal, ...] = ()
) -> LabelledPairs:
    """Every pair that can be drawn with every label it can get; `weight` is its probability.

    gold: each with every answer of `gold_law` beside it. signals: of each token, for `under`.

    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> every_pair(world).view.columns["weight"]
    tensor([0.7311, 0.2689], dtype=torch.float64)
    """
    law = world.labels()
    if not gold:
        context, chosen, rejected = law.nonzero().unbind(-1)
        weight = law[context, chosen, rejected]
        return _pairs(world, context, chosen, rejected, weight, signals=signals)
    law = law[..., None] * gold_law(world)[:, None, None, :]
    context, chosen, rejected, third = law.nonzero().unbind(-1)
    weight = law[context, chosen, rejected, third]
    return _pairs(world, context, chosen, rejected, weight, gold=third, signals=signals)


def gold_law(world: World) -> Float[Tensor, "context response"]:
    """Law of the answers to imitate: the world's `gold`, or the responses of the best reward.

    >>> gold_law(World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])))
    tensor([[1., 0.]], dtype=torch.float64)
    """
    if world.gold is not None:
        return world.gold
    best = (world.reward == world.reward.amax(-1, keepdim=True)).double()
    return best / best.sum(-1, keepdim=True)


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
    *,
    gold: Int[Tensor, " pair"] | None = None,
    signals: tuple[Signal, ...] = (),
) -> LabelledPairs:
    responses = world.reward.shape[-1]
    chosen, rejected = context * responses + chosen, context * responses + rejected
    gold = None if gold is None else context * responses + gold
    reference, reward = world.reference_log_probs.flatten(), world.reward.flatten()
    lengths = world.lengths().flatten()
    view = PairLogProbs(
        policy_chosen=reference[chosen],
        policy_rejected=reference[rejected],
        reference_chosen=reference[chosen],
        reference_rejected=reference[rejected],
        chosen_tokens=lengths[chosen],
        rejected_tokens=lengths[rejected],
        gold=None if gold is None else reference[gold],
        gold_tokens=None if gold is None else lengths[gold],
        columns={"weight": weight, "margin": reward[chosen] - reward[rejected]},
    )
    return LabelledPairs(
        chosen=chosen,
        rejected=rejected,
        gold=gold,
        view=view,
        reference=world.reference_log_probs,
        signals=signals,
    )


def _interleaved(chosen: Tensor, rejected: Tensor) -> Tensor:
    """[sequence]: chosen and rejected alternating."""
    return torch.stack([chosen, rejected], -1).flatten()
