"""What is measured of each pair."""

import pytest
import torch

from collimate._types import PairLogProbs
from collimate.diagnostics import pair_statistics

POLICY = {
    "policy_chosen": torch.tensor([-1.0, -2.0, -3.0]),
    "policy_rejected": torch.tensor([-2.0, -2.0, -1.0]),
}
REFERENCE = {
    "reference_chosen": torch.tensor([-1.0, -2.0, -7.0]),
    "reference_rejected": torch.tensor([-2.0, -4.0, -1.5]),
}


def test_a_tie_counts_one_half():
    found = pair_statistics(PairLogProbs(**POLICY, **REFERENCE))
    assert found["likelihood_accuracy"].tolist() == [1.0, 0.5, 0.0]
    assert found["reward_accuracy"].tolist() == [0.5, 0.0, 1.0]


def test_log_probs_are_the_policys_and_log_ratios_are_against_the_reference():
    found = pair_statistics(PairLogProbs(**POLICY, **REFERENCE))
    assert torch.equal(found["log_prob_chosen"], POLICY["policy_chosen"])
    assert torch.equal(found["log_prob_rejected"], POLICY["policy_rejected"])
    assert found["log_ratio_chosen"].tolist() == [0.0, 0.0, 4.0]
    assert found["log_ratio_rejected"].tolist() == [0.0, 2.0, 0.5]


def test_without_a_reference_there_is_nothing_about_one():
    found = pair_statistics(PairLogProbs(**POLICY))
    assert sorted(found) == ["likelihood_accuracy", "log_prob_chosen", "log_prob_rejected"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_before_training_every_reward_is_a_tie(dtype):
    start = torch.linspace(-900, -1, 7, dtype=dtype)
    view = PairLogProbs(
        policy_chosen=start,
        policy_rejected=3 * start,
        reference_chosen=start,
        reference_rejected=3 * start,
    )
    found = pair_statistics(view)
    assert (found["reward_accuracy"] == 0.5).all()
    assert (found["likelihood_accuracy"] == 1).all()
