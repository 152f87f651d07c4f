"""Likelihood displacement: what training did to the answers it was shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import BadData
from collimate._types import PairLogProbs
from collimate.diagnostics._shapes import require_finite, require_shape, require_some

_ONE = 1e-4  # how far from 1 the probabilities of a context may sum: float32 over many answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Displacement:
    """Change of the log-prob of each pair's two answers (nats, below 0: less likely than before).

    chosen, rejected: of each pair. chosen_fell, both_fell: share of the pairs, in [0, 1], whose
    chosen answer, or both whose answers, became less likely. gap: change of chosen - rejected.

    >>> change = torch.tensor([-1.0, 2.0])
    >>> Displacement(chosen=change, rejected=change - 3).gap
    tensor([3., 3.])
    """

    chosen: Float[Tensor, " pair"]
    rejected: Float[Tensor, " pair"]

    @property
    def gap(self) -> Float[Tensor, " pair"]:
        """How much further the two answers of each pair are apart (nats): what losses reward."""
        return self.chosen - self.rejected

    @property
    def chosen_fell(self) -> float:
        """Share of pairs whose chosen answer became less likely."""
        return (self.chosen < 0).double().mean().item()

    @property
    def both_fell(self) -> float:
        """Share of pairs whose answers both became less likely."""
        return ((self.chosen < 0) & (self.rejected < 0)).double().mean().item()


def displacement(before: PairLogProbs, after: PairLogProbs) -> Displacement:
    """log p_after(y) - log p_before(y) of the chosen and of the rejected answers (nats).

    before, after: the same pairs under the two policies; only `policy_*` are read. An answer that
    was possible and no longer is has the change -inf.

    Errors: BadData without pairs, for another number of them, or where `before` is not finite.
    Source: razin:25.

    >>> def pairs(chosen, rejected):
    ...     return PairLogProbs(
    ...         policy_chosen=torch.tensor(chosen), policy_rejected=torch.tensor(rejected))
    >>> moved = displacement(pairs([-1.0, -2.0], [-1.0, -2.0]), pairs([-2.0, -1.0], [-5.0, -2.5]))
    >>> moved.chosen, moved.gap, moved.chosen_fell, moved.both_fell
    (tensor([-1.,  1.]), tensor([3.0000, 1.5000]), 0.5, 0.5)
    """
    require_some("before", before.policy_chosen, "pair")
    require_shape("after", after.policy_chosen, before.policy_chosen.shape, "pair of `before`")
    require_finite("before.policy_chosen", before.policy_chosen)
    require_finite("before.policy_rejected", before.policy_rejected)
    return Displacement(
        chosen=(after.policy_chosen - before.policy_chosen).detach(),
        rejected=(after.policy_rejected - before.policy_rejected).detach(),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MassMoved:
    """Change of the probability of the chosen, the rejected and all other answers; they sum to 0.

    >>> none = torch.zeros(1)
    >>> MassMoved(chosen=none, rejected=none - 0.5, other=none + 0.5).other
    tensor([0.5000])
    """

    chosen: Float[Tensor, " context"]
    rejected: Float[Tensor, " context"]
    other: Float[Tensor, " context"]


def where_the_mass_went(
    log_p_before: Float[Tensor, "context response"],
    log_p_after: Float[Tensor, "context response"],
    chosen: Bool[Tensor, "context response"],
    rejected: Bool[Tensor, "context response"],
) -> MassMoved:
    """Σ_{y in S} p_after(y) - p_before(y) for S the chosen, the rejected, the other answers.

    log_p_*: log-probs of every answer of a finite world (nats). chosen, rejected: which answers are
    of which kind, apart from each other. Float64.

    Errors: BadData for shapes that differ, for an answer of both kinds, and where the probabilities
    of a context do not sum to 1. Source: razin:25.

    >>> before = torch.tensor([[0.4, 0.4, 0.2]]).log()
    >>> after = torch.tensor([[0.3, 0.1, 0.6]]).log()
    >>> first = torch.tensor([[True, False, False]])
    >>> moved = where_the_mass_went(before, after, first, first.roll(1))
    >>> [round(x.item(), 3) for x in (moved.chosen, moved.rejected, moved.other)]
    [-0.1, -0.3, 0.4]
    """
    require_some("log_p_before", log_p_before, "answer")
    for name, value in (("log_p_after", log_p_after), ("chosen", chosen), ("rejected", rejected)):
        require_shape(name, value, log_p_before.shape, "answer of log_p_before")
    if (chosen & rejected).any():
        raise BadData(
            f"answer {(chosen & rejected).nonzero()[0].tolist()} is both chosen and rejected: its "
            "mass would count twice; mark the answers of one pair, or those that are never rejected"
        )
    p, q = log_p_after.detach().double().exp(), log_p_before.detach().double().exp()
    for name, mass in (("log_p_before", q.sum(-1)), ("log_p_after", p.sum(-1))):
        if not (mass - 1).abs().max() <= _ONE:
            worst = int((mass - 1).abs().nan_to_num(torch.inf).argmax())
            raise BadData(
                f"{name}: the probabilities of context {worst} sum to {mass[worst].item():.6g}, not "
                "1; give log-probs of all answers, log_softmax(-1) of scores"
            )
    change = p - q
    to_chosen = change.where(chosen, torch.zeros_like(change)).sum(-1)
    to_rejected = change.where(rejected, torch.zeros_like(change)).sum(-1)
    rest = change.where(~(chosen | rejected), torch.zeros_like(change)).sum(-1)
    return MassMoved(chosen=to_chosen, rejected=to_rejected, other=rest)
