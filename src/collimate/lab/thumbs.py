"""A world's labelled answers as methods see them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._types import ThumbLogProbs
from collimate.lab.world import World


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledAnswers:
    """Answers with their labels, made by `every_thumb`.

    answer: place of each in the flattened table [context, response]. mismatched: the law of answers
    that come under a context from other rows. view: what a method sees of the reference; its column
    `weight` is the probability.
    """

    answer: Int[Tensor, " answer"]
    mismatched: Float[Tensor, "context response"]
    view: ThumbLogProbs

    @property
    def places(self) -> tuple[Int[Tensor, " answer"], ...]:
        """Place of the one answer of each unit."""
        return (self.answer,)

    def under(self, log_probs: Float[Tensor, "context response"]) -> ThumbLogProbs:
        """What a method sees of this policy; gradients flow back to `log_probs`."""
        return replace(
            self.at(log_probs.flatten()[self.answer]),
            mismatched_policy=(self.mismatched * log_probs).sum(-1),
        )

    def at(self, policy: Float[Tensor, " answer"]) -> ThumbLogProbs:
        """The same from each answer's own log-prob, the mismatched answers left at the reference."""
        return replace(self.view, policy=policy)


def every_thumb(world: World) -> LabelledAnswers:
    """Every answer with every label it can get: both answers of each pair, the winner wanted.

    With both drawn from q, an answer y ~ q is wanted with probability P(y ≻ y'~q). A mismatched answer
    is another row's, the context drawn anew; of their log-ratios methods read the mean, so that one
    entry for each context holds its expectation.

    >>> world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    >>> every_thumb(world).view.columns["weight"]  # wanted: first, second; unwanted: first, second
    tensor([0.3655, 0.1345, 0.1345, 0.3655], dtype=torch.float64)
    """
    labels = world.labels()
    law = torch.stack([labels.sum(-1), labels.sum(-2)]) / 2
    kind, context, response = law.nonzero().unbind(-1)
    answer = context * law.shape[-1] + response
    reference = world.reference_log_probs
    mismatched = law.sum(0).mean(0).expand_as(reference)
    beside = (mismatched * reference).sum(-1)
    view = ThumbLogProbs(
        policy=reference.flatten()[answer],
        reference=reference.flatten()[answer],
        label=1.0 - 2.0 * kind.double(),
        tokens=world.lengths().flatten()[answer],
        mismatched_policy=beside,
        mismatched_reference=beside,
        columns={"weight": law[kind, context, response]},
    )
    return LabelledAnswers(answer=answer, mismatched=mismatched, view=view)
