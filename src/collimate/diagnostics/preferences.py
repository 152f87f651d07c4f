"""What the log-probs of preference pairs say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairStatistics:
    """One number per pair; log-probs and log-ratios are whole-answer sums in nats.

    likelihood_correct: 1 where the chosen answer is the likelier one, ½ at a tie. reward_correct:
    the same for the log-ratios (all ties before training). log_ratio_*: policy against reference on
    the given answers; their mean is not a KL, and can be negative.
    """

    log_prob_chosen: Float[Tensor, " pair"]
    log_prob_rejected: Float[Tensor, " pair"]
    likelihood_correct: Float[Tensor, " pair"]
    log_ratio_chosen: Float[Tensor, " pair"] | None
    log_ratio_rejected: Float[Tensor, " pair"] | None
    reward_correct: Float[Tensor, " pair"] | None


def pair_statistics(view: PairLogProbs) -> PairStatistics:
    """Measure pairs; the log-ratio entries are None for a view without a reference."""
    ratios = None if view.reference_chosen is None else view.log_ratios()
    return PairStatistics(
        log_prob_chosen=view.policy_chosen,
        log_prob_rejected=view.policy_rejected,
        likelihood_correct=_won(view.policy_chosen, view.policy_rejected),
        log_ratio_chosen=None if ratios is None else ratios[0],
        log_ratio_rejected=None if ratios is None else ratios[1],
        reward_correct=None if ratios is None else _won(*ratios),
    )


def _won(a: Float[Tensor, " pair"], b: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    return torch.sign(a - b).add(1).div(2)
