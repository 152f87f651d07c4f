"""The records that flow through Collimate: data -> engine -> methods.

Host side: `Answer`, `Example` (token ids, no tensors on a device). Device side: `Batch`, ragged
(token ⊂ sequence ⊂ example) and never padded, and the four flat views of it that authors of
methods see. Log-probabilities are natural logs (nats), float32 or better; their sums are float64.
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
class TokenLogProbs:
    """A view with one entry per answer token.

    log_prob, reference: log-prob of each answer token given what precedes it (nats).
    weight: the token's weight in its sequence's sum. sequence: owner of each token.
    example: owner of each sequence. signals: further per-token numbers by name.
    """

    log_prob: Float[Tensor, " token"]
    reference: Float[Tensor, " token"] | None
    weight: Float[Tensor, " token"]
    sequence: Int[Tensor, " token"]
    example: Int[Tensor, " sequence"]
    signals: Mapping[str, Float[Tensor, " token"]] = field(default_factory=dict)
    columns: Mapping[str, Float[Tensor, " example"]] = field(default_factory=dict)

    def sums(self, x: Float[Tensor, " token"]) -> Float[Tensor, " sequence"]:
        """Sum of weight·x over the tokens of each sequence."""
        return _sums(x * self.weight, self.sequence, len(self.example))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairLogProbs:
    """A view with one entry per preference pair: what a DPO-like method reads.

    policy_*, reference_*: log-prob of the whole answer, summed over its tokens (nats); the policy's
    carry the gradient. reference_* may be left out for methods without a reference.
    *_tokens: number of answer tokens, for length-normalised methods.
    gold, gold_tokens: the same of a third answer, the one to imitate, where the data has it.
    columns: per-pair numbers from the data ("weight", "margin", ...). tokens: the same pairs token
    by token, chosen and rejected sequences alternating, when the engine made the view.

    >>> pair = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-2.0]))
    >>> len(pair)
    1
    """

    policy_chosen: Float[Tensor, " pair"]
    policy_rejected: Float[Tensor, " pair"]
    reference_chosen: Float[Tensor, " pair"] | None = None
    reference_rejected: Float[Tensor, " pair"] | None = None
    chosen_tokens: Float[Tensor, " pair"] | Int[Tensor, " pair"] | None = None
    rejected_tokens: Float[Tensor, " pair"] | Int[Tensor, " pair"] | None = None
    gold: Float[Tensor, " pair"] | None = None
    gold_tokens: Float[Tensor, " pair"] | Int[Tensor, " pair"] | None = None
    columns: Mapping[str, Float[Tensor, " pair"]] = field(default_factory=dict)
    tokens: TokenLogProbs | None = None

    def __post_init__(self) -> None:
        for name in (
            "policy_rejected",
            "reference_chosen",
            "reference_rejected",
            "chosen_tokens",
            "rejected_tokens",
            "gold",
            "gold_tokens",
        ):
            value = getattr(self, name)
            if value is not None and value.shape != self.policy_chosen.shape:
                raise BadComposition(
                    f"PairLogProbs.{name} has shape {tuple(value.shape)}, but policy_chosen has "
                    f"{tuple(self.policy_chosen.shape)}: give one value per pair in each"
                )

    def __len__(self) -> int:
        return len(self.policy_chosen)

    def log_ratios(self) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
        """u = log policy - log reference of the chosen and of the rejected answers (nats).

        Raises BadComposition if the view carries no reference.
        """
        chosen, rejected = self.reference()
        return self.policy_chosen - chosen, self.policy_rejected - rejected

    def reference(self) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
        """log reference of the chosen and of the rejected answers (nats).

        Raises BadComposition if the view carries no reference.
        """
        return (
            _given(self.reference_chosen, "reference_chosen", _NO_REFERENCE),
            _given(self.reference_rejected, "reference_rejected", _NO_REFERENCE),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThumbLogProbs:
    """A view with one entry per labelled answer: what KTO and BCO read.

    policy, reference: summed log-probs (nats). label: +1 wanted, -1 unwanted. tokens: answer tokens.
    mismatched_*: log-probs of answers under another row's prompt, where the method asked for them.
    """

    policy: Float[Tensor, " answer"]
    label: Float[Tensor, " answer"]
    reference: Float[Tensor, " answer"] | None = None
    tokens: Float[Tensor, " answer"] | None = None
    mismatched_policy: Float[Tensor, " mismatched"] | None = None
    mismatched_reference: Float[Tensor, " mismatched"] | None = None
    columns: Mapping[str, Float[Tensor, " answer"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_shapes(self, self.policy, "label", "reference", "tokens")
        if not (self.label.abs() == 1).all():
            raise BadComposition(
                "ThumbLogProbs.label must be +1 (wanted) or -1 (unwanted) for each"
            )

    def __len__(self) -> int:
        return len(self.policy)

    def log_ratios(self) -> Float[Tensor, " answer"]:
        """u = log policy - log reference of each answer (nats). BadComposition without a reference."""
        return self.policy - _given(self.reference, "reference", _NO_REFERENCE)

    def mismatched_log_ratios(self) -> Float[Tensor, " mismatched"]:
        """The same of the mismatched answers. BadComposition without them, or their reference."""
        policy = _given(self.mismatched_policy, "mismatched_policy", _NO_MISMATCHED)
        return policy - _given(self.mismatched_reference, "mismatched_reference", _NO_REFERENCE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListLogProbs:
    """A view with one entry per scored answer; `group` numbers the list each belongs to, from 0.

    policy, reference: summed log-probs (nats). score: larger is better. tokens: answer tokens.
    """

    policy: Float[Tensor, " answer"]
    score: Float[Tensor, " answer"]
    group: Int[Tensor, " answer"]
    reference: Float[Tensor, " answer"] | None = None
    tokens: Float[Tensor, " answer"] | None = None
    columns: Mapping[str, Float[Tensor, " list"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_shapes(self, self.policy, "score", "group", "reference", "tokens")
        if (torch.bincount(self.group) == 0).any():
            raise BadComposition("ListLogProbs.group must number its lists from 0 without a gap")

    def __len__(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 0

    def sizes(self) -> Int[Tensor, " list"]:
        """Answers of each list."""
        return torch.bincount(self.group, minlength=len(self))

    def ranked(self, x: Float[Tensor, " answer"], *, beyond: float) -> Float[Tensor, "list rank"]:
        """x of each list's answers, the best-scored first (of equal ones the first); then `beyond`."""
        falling = torch.argsort(self.score, descending=True, stable=True)
        order = falling[torch.argsort(self.group[falling], stable=True)]
        owner, sizes = self.group[order], self.sizes()
        rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[owner]
        table = x.new_full((len(self), int(sizes.max())), beyond)
        return table.index_put((owner, rank), x[order])

    def log_ratios(self) -> Float[Tensor, " answer"]:
        """u = log policy - log reference of each answer (nats). BadComposition without a reference."""
        return self.policy - _given(self.reference, "reference", _NO_REFERENCE)


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
        return _sums(x * self.token_weight, self.sequence, len(self.example))

    def token_counts(self) -> Float[Tensor, " sequence"]:
        """Number of tokens with a non-zero weight in each sequence."""
        counted = (self.token_weight != 0).to(self.log_prob.dtype)
        return _sums(counted, self.sequence, len(self.example))

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


_NO_REFERENCE = "this method compares the policy with a reference: use one without a reference"
_NO_MISMATCHED = "this method compares with answers under other prompts: use another method"


def _require_shapes(view: object, like: Tensor, *names: str) -> None:
    for name in names:
        value = getattr(view, name)
        if value is not None and value.shape != like.shape:
            raise BadComposition(
                f"{type(view).__name__}.{name} has shape {tuple(value.shape)}, but policy has "
                f"{tuple(like.shape)}: give one value per answer in each"
            )


def _given(value: Tensor | None, name: str, way_out: str) -> Tensor:
    if value is None:
        what, _, instead = way_out.partition(": ")
        raise BadComposition(f"{what}, and the view has no {name}: give it, or {instead}")
    return value


View = PairLogProbs | ThumbLogProbs | ListLogProbs | TokenLogProbs | Batch


def _sums(
    x: Float[Tensor, " token"], owner: Int[Tensor, " token"], owners: int
) -> Float[Tensor, " sequence"]:
    # A sum of -1000 nats is known to 6e-5 in float32, and its difference to the reference's no
    # better: float64 where the device has it.
    wide = x if x.device.type == "mps" else x.double()
    return torch.zeros(owners, dtype=wide.dtype, device=x.device).index_add(0, owner, wide)


def _repeats(owner: Int[Tensor, " pair"]) -> bool:
    return len(torch.unique(owner)) != len(owner)
