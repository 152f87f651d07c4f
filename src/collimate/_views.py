"""The flat views of a batch that authors of methods see: tokens, pairs, thumbs, lists.

Log-probabilities are natural logs (nats), float32 or better; their sums are float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition


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
        return sums_of(x * self.weight, self.sequence, len(self.example))


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
    mismatched_*: log-probs of answers under another row's prompt, where the method asked for them, and
    the columns of the rows that they stand in.
    """

    policy: Float[Tensor, " answer"]
    label: Float[Tensor, " answer"]
    reference: Float[Tensor, " answer"] | None = None
    tokens: Float[Tensor, " answer"] | None = None
    mismatched_policy: Float[Tensor, " mismatched"] | None = None
    mismatched_reference: Float[Tensor, " mismatched"] | None = None
    columns: Mapping[str, Float[Tensor, " answer"]] = field(default_factory=dict)
    mismatched_columns: Mapping[str, Float[Tensor, " mismatched"]] = field(default_factory=dict)

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


def sums_of(
    x: Float[Tensor, " token"], owner: Int[Tensor, " token"], owners: int
) -> Float[Tensor, " sequence"]:
    """Sum of x over what each owner has, in float64.

    >>> sums_of(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([0, 0, 1]), 2)
    tensor([-3., -4.], dtype=torch.float64)
    """
    # A sum of -1000 nats is known to 6e-5 in float32, and its difference to the reference's no
    # better: float64 where the device has it.
    wide = x if x.device.type == "mps" else x.double()
    return torch.zeros(owners, dtype=wide.dtype, device=x.device).index_add(0, owner, wide)


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
