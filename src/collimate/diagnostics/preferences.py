"""What the log-probs of preference pairs say."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs


def pair_statistics(view: PairLogProbs) -> Mapping[str, Float[Tensor, " pair"]]:
    """Numbers of each pair, under the names that their means have in a run's record.

    likelihood_accuracy: 1 where the chosen answer is the likelier one, ½ at a tie, else 0.
    log_prob_*: of the whole answer (nats). With a reference also reward_accuracy: the same for the
    log-ratios (all ties where the policy is its reference), and log_ratio_*: policy against
    reference on the given answers (nats); their mean is not a KL, and can be negative.

    >>> view = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-1.0]))
    >>> pair_statistics(view)["likelihood_accuracy"]
    tensor([0.5000])
    """
    numbers = {
        "likelihood_accuracy": _won(view.policy_chosen, view.policy_rejected),
        "log_prob_chosen": view.policy_chosen,
        "log_prob_rejected": view.policy_rejected,
    }
    if view.reference_chosen is not None:
        chosen, rejected = view.log_ratios()
        numbers |= {
            "reward_accuracy": _won(chosen, rejected),
            "log_ratio_chosen": chosen,
            "log_ratio_rejected": rejected,
        }
    return numbers


def _won(a: Float[Tensor, " pair"], b: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    return torch.sign(a - b).add(1).div(2)
