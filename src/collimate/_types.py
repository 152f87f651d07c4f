"""The records that flow through Collimate: data -> engine -> methods.

Host side: `Answer`, `Example` (token ids, no tensors on a device). Device side: `Batch`, ragged
(token ⊂ sequence ⊂ example) and never padded, and the four flat views of it that authors of
methods see (`_views`). Log-probabilities are natural logs (nats), float32 or better; their sums are
float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadComposition
from collimate._views import ListLogProbs as ListLogProbs
from collimate._views import PairLogProbs as PairLogProbs
from collimate._views import ThumbLogProbs as ThumbLogProbs
from collimate._views import TokenLogProbs as TokenLogProbs
from collimate._views import sums_of


class Role(IntEnum):
    """What a sequence is there for."""

    ANSWER = 0
    MISMATCHED = 1  # an answer under another row's prompt (KTO's reference point)
    GOLD = 2  # what should have been said: imitated, not compared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """One answer to a prompt, tokenised.

    ids: token ids, the end-of-sequence token included when the data layer appended one.
    label: +1 wanted, -1 unwanted, None unknown.
    score: larger is better, None unknown.
    token_weight: weight of each token in the sequence sum (0 masks a token), None means all 1.
    sampler_log_probs: log-probs under the sampler that drew the answer (nats), None unknown.
    """

    ids: Int[np.ndarray, " token"]
    label: int | None = None
    score: float | None = None
    token_weight: Float[np.ndarray, " token"] | None = None
    sampler_log_probs: Float[np.ndarray, " token"] | None = None
    role: Role = Role.ANSWER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A prompt and its answers: one for SFT and thumbs, two for a pair (chosen, rejected), n for a list.

    row: 0-based position in the source file, for messages and outputs.
    columns: numbers of the row that methods may read ("weight", "margin", "rater", ...).
    """

    prompt: Int[np.ndarray, " token"]
    answers: tuple[Answer, ...]
    row: int
    columns: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of every answer together."""
        return len(self.prompt) + self.answer_tokens

    @property
    def answer_tokens(self) -> int:
        """Tokens of every answer together."""
        return sum(len(answer.ids) for answer in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Everything the engine knows about some examples: ragged, on the device, never padded.

    sequence: owner of each token. example: owner of each sequence. label, score: NaN where unknown.
    log_prob: log-prob of each answer token under the policy (nats; carries the gradient).
    reference: the same under the reference, without gradient. signals: further
    `Signal`s by name.
    scalar: a reward head's output per sequence.
    """

    sequence: Int[Tensor, " token"]
    example: Int[Tensor, " sequence"]
    label: Float[Tensor, " sequence"]
    score: Float[Tensor, " sequence"]
    role: Int[Tensor, " sequence"]
    token_weight: Float[Tensor, " token"]
    columns: Mapping[str, Float[Tensor, " example"]]
    log_prob: Float[Tensor, " token"]
    reference: Float[Tensor, " token"] | None = None
    signals: Mapping[str, Float[Tensor, " token"]] = field(default_factory=dict)
    scalar: Float[Tensor, " sequence"] | None = None

    def sums(self, x: Float[Tensor, " token"]) -> Float[Tensor, " sequence"]:
        """Sum of token_weight·x over the tokens of each sequence."""
        return sums_of(x * self.token_weight, self.sequence, len(self.example))

    def token_counts(self) -> Float[Tensor, " sequence"]:
        """Number of tokens with a non-zero weight in each sequence."""
        counted = (self.token_weight != 0).to(self.log_prob.dtype)
        return sums_of(counted, self.sequence, len(self.example))

    def tokens(self) -> TokenLogProbs:
        """The token view."""
        return TokenLogProbs(
            log_prob=self.log_prob,
            reference=self.reference,
            weight=self.token_weight,
            sequence=self.sequence,
            example=self.example,
            signals=self.signals,
            columns=self.columns,
        )

    def pairs(self) -> PairLogProbs:
        """The pair view: each example's first answer is the chosen one, its second the rejected one.

        Raises BadComposition unless every example has exactly two answers.
        """
        answers = self._answers()
        owner = self.example[answers]
        if len(answers) % 2 or not torch.equal(owner[0::2], owner[1::2]) or _repeats(owner[0::2]):
            raise BadComposition(
                "a method of pairs needs exactly two answers (chosen, rejected) for each prompt, "
                "and this data has another number; use a method of thumbs or lists"
            )
        chosen, rejected = answers[0::2], answers[1::2]
        policy, counts = self.sums(self.log_prob), self.token_counts()
        reference = None if self.reference is None else self.sums(self.reference)
        gold = self._of_role(Role.GOLD)
        if len(gold) and not torch.equal(self.example[gold], owner[0::2]):
            raise BadComposition(
                "a method with gold answers needs one for each pair, and this data has another number"
            )
        return PairLogProbs(
            policy_chosen=policy[chosen],
            policy_rejected=policy[rejected],
            reference_chosen=None if reference is None else reference[chosen],
            reference_rejected=None if reference is None else reference[rejected],
            chosen_tokens=counts[chosen],
            rejected_tokens=counts[rejected],
            gold=policy[gold] if len(gold) else None,
            gold_tokens=counts[gold] if len(gold) else None,
            columns={name: value[owner[0::2]] for name, value in self.columns.items()},
            tokens=self._tokens_of(answers),
        )

    def thumbs(self) -> ThumbLogProbs:
        """The thumb view: one entry per labelled answer, mismatched ones apart.

        Raises BadComposition where an answer has no label.
        """
        answers, mismatched = self._answers(), self._of_role(Role.MISMATCHED)
        if torch.isnan(self.label[answers]).any():
            raise BadComposition("a method of thumbs needs a label for each answer; some have none")
        policy, owner = self.sums(self.log_prob), self.example[answers]
        reference = None if self.reference is None else self.sums(self.reference)
        some = len(mismatched) > 0
        return ThumbLogProbs(
            policy=policy[answers],
            reference=None if reference is None else reference[answers],
            label=self.label[answers],
            tokens=self.token_counts()[answers],
            mismatched_policy=policy[mismatched] if some else None,
            mismatched_reference=reference[mismatched] if some and reference is not None else None,
            columns={name: value[owner] for name, value in self.columns.items()},
            mismatched_columns={
                name: value[self.example[mismatched]] for name, value in self.columns.items()
            },
        )

    def lists(self) -> ListLogProbs:
        """The list view: the scored answers of each prompt.

        Raises BadComposition where an answer has no score.
        """
        answers = self._answers()
        if torch.isnan(self.score[answers]).any():
            raise BadComposition("a method of lists needs a score for each answer; some have none")
        return ListLogProbs(
            policy=self.sums(self.log_prob)[answers],
            reference=None if self.reference is None else self.sums(self.reference)[answers],
            score=self.score[answers],
            group=self.example[answers],
            tokens=self.token_counts()[answers],
            columns=self.columns,
        )

    def _tokens_of(self, sequences: Int[Tensor, " some"]) -> TokenLogProbs:
        whole = self.tokens()
        if len(sequences) == len(self.example):
            return whole
        number = torch.full_like(self.example, -1)
        number[sequences] = torch.arange(len(sequences), device=number.device)
        kept = (number[self.sequence] >= 0).nonzero().squeeze(-1)
        return TokenLogProbs(
            log_prob=whole.log_prob[kept],
            reference=None if whole.reference is None else whole.reference[kept],
            weight=whole.weight[kept],
            sequence=number[self.sequence[kept]],
            example=self.example[sequences],
            signals={name: value[kept] for name, value in self.signals.items()},
            columns=self.columns,
        )

    def _answers(self) -> Int[Tensor, " answer"]:
        return self._of_role(Role.ANSWER)

    def _of_role(self, role: Role) -> Int[Tensor, " answer"]:
        wanted: Bool[Tensor, " sequence"] = self.role == role
        return wanted.nonzero().squeeze(-1)


View = PairLogProbs | ThumbLogProbs | ListLogProbs | TokenLogProbs | Batch


def _repeats(owner: Int[Tensor, " pair"]) -> bool:
    return len(torch.unique(owner)) != len(owner)
