"""What is measured of each pair, labelled answer and list."""

from dataclasses import replace

import pytest
import torch

from collimate._checks import BadData
from collimate._types import ListLogProbs, PairLogProbs, ThumbLogProbs
from collimate.diagnostics import compared_lists, density_ratio, pair_statistics, statistics

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


def test_thumbs_are_measured_by_label():
    view = ThumbLogProbs(
        policy=torch.tensor([-1.0, -2.0, -3.0, -4.0]),
        reference=torch.tensor([-2.0, -1.0, -5.0, -4.0]),
        label=torch.tensor([1.0, 1.0, -1.0, -1.0]),
    )
    numbers = {name: value.tolist() for name, value in statistics(view).items()}
    assert numbers == {
        "log_prob_chosen": [-1, -2],
        "log_prob_rejected": [-3, -4],
        "reward_accuracy": [1, 0, 0, 0.5],
        "log_ratio_chosen": [1, -1],
        "log_ratio_rejected": [2, 0],
    }
    assert set(statistics(replace(view, reference=None))) == {
        "log_prob_chosen",
        "log_prob_rejected",
    }


def test_lists_are_measured_by_their_ends_and_all_couples():
    """Scores 2 > 1 > 0 in the first list, a tie in the second, a single answer in the third."""
    view = ListLogProbs(
        policy=torch.tensor([-5.0, -1.0, -3.0, -1.0, -9.0, -4.0]),
        reference=torch.tensor([-1.0, -1.0, -1.0, -2.0, -2.0, -4.0]),
        score=torch.tensor([1.0, 2.0, 0.0, 3.0, 3.0, 7.0]),
        group=torch.tensor([0, 0, 0, 1, 1, 2]),
    )
    numbers = statistics(view)
    assert compared_lists(view).tolist() == [True, False, False]
    assert numbers["log_prob_chosen"].tolist() == [-1]
    assert numbers["log_prob_rejected"].tolist() == [-3]
    assert numbers["likelihood_accuracy"].tolist() == pytest.approx([2 / 3])
    assert numbers["reward_accuracy"].tolist() == pytest.approx([2 / 3])
    assert numbers["log_ratio_chosen"].tolist() == [0]
    assert numbers["log_ratio_rejected"].tolist() == [-2]


def test_the_best_and_the_worst_of_lists_in_any_order():
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(30).repeat_interleave(torch.arange(30) % 4 + 2)
    score, policy = torch.rand(2, len(group), generator=generator)
    numbers = statistics(ListLogProbs(policy=policy, score=score, group=group))
    for i in range(30):
        own = (group == i).nonzero()[:, 0]
        assert numbers["log_prob_chosen"][i] == policy[own[score[own].argmax()]]
        assert numbers["log_prob_rejected"][i] == policy[own[score[own].argmin()]]
        couples = [(a, b) for a in own for b in own if score[a] > score[b]]
        share = sum(float(policy[a] > policy[b]) for a, b in couples) / len(couples)
        assert numbers["likelihood_accuracy"][i].item() == pytest.approx(share)


def test_density_ratio_is_the_likelihood_ratio_of_gaussians_whatever_the_prior():
    """Two unit Gaussians at ±1: log ratio 2x, with three times as many wanted rows."""
    generator = torch.Generator().manual_seed(0)
    label = torch.where(torch.arange(40_000) % 4 == 0, -1.0, 1.0).double()
    x = label + torch.randn(40_000, dtype=torch.float64, generator=generator)
    found = density_ratio(x[:, None], label).log()
    assert (found - 2 * x).abs().max() < 0.25
    assert ((found - 2 * x).abs() < 0.05).double().mean() > 0.9


@pytest.mark.parametrize("label", [torch.ones(3), torch.tensor([1.0, 0.0, -1.0]) * float("nan")])
def test_density_ratio_needs_both_labels(label):
    with pytest.raises(BadData, match="rows of both labels"):
        density_ratio(torch.zeros(3, 1), label)
