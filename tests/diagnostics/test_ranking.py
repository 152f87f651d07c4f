"""Ranking accuracies, and what exact optimisation would rank."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate import divergences, methods
from collimate._checks import BadConfig, BadData
from collimate._types import PairLogProbs
from collimate.diagnostics import (
    flip_difficulty,
    flip_loss,
    ideal_gap,
    idealised_accuracy,
    ranking_accuracy,
)
from collimate.lab import World


def test_three_accuracies_by_hand():
    view = PairLogProbs(
        policy_chosen=torch.tensor([-2.0, -6.0, -4.0, -4.0]),
        policy_rejected=torch.tensor([-3.0, -4.0, -4.0, -2.0]),
        reference_chosen=torch.tensor([-1.0, -9.0, -4.0, -4.0]),
        reference_rejected=torch.tensor([-3.0, -4.0, -4.0, -1.0]),
        chosen_tokens=torch.tensor([1, 6, 4, 4]),
        rejected_tokens=torch.tensor([3, 2, 4, 2]),
    )
    found = {name: value.tolist() for name, value in ranking_accuracy(view).items()}
    assert found == {
        "likelihood_accuracy": [1, 0, 0.5, 0],
        "length_normalised_accuracy": [0, 1, 0.5, 0.5],
        "reward_accuracy": [0, 1, 0.5, 1],
    }


@given(seed=st.integers(0, 2**31 - 1))
def test_each_pair_and_its_swap_score_one_together(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = torch.randint(-3, 0, (4, 6), generator=generator).double()
    tokens = torch.randint(1, 4, (2, 6), generator=generator)
    there = PairLogProbs(
        policy_chosen=a, policy_rejected=b, reference_chosen=c, reference_rejected=d,
        chosen_tokens=tokens[0], rejected_tokens=tokens[1],
    )  # fmt: skip
    back = PairLogProbs(
        policy_chosen=b, policy_rejected=a, reference_chosen=d, reference_rejected=c,
        chosen_tokens=tokens[1], rejected_tokens=tokens[0],
    )  # fmt: skip
    swapped = ranking_accuracy(back)
    for name, value in ranking_accuracy(there).items():
        assert (value + swapped[name] == 1).all()


@pytest.mark.parametrize("share", [0.55, 0.75, 0.95])
@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_the_ideal_gap_is_that_of_the_exact_optimum(share, beta):
    """A two-answer world whose labels prefer y_w with probability a: its tilted reference."""
    log_q = torch.tensor([[-0.2, math.log1p(-math.exp(-0.2))]] * 2, dtype=torch.float64)
    log_q[1] = log_q[0].flip(0)
    reward = torch.tensor([[math.log(share / (1 - share)), 0.0]] * 2, dtype=torch.float64)
    optimum = World(log_q, reward).optimum(divergences.reverse_kl, beta)
    exact = optimum[:, 0] - optimum[:, 1]
    torch.testing.assert_close(
        ideal_gap(log_q[:, 0], log_q[:, 1], beta, share), exact, rtol=1e-9, atol=1e-9
    )
    found = idealised_accuracy(log_q[:, 0], log_q[:, 1], beta, share)
    assert found.tolist() == [float(x > 0) for x in exact]


def test_unanimous_raters_are_always_followed_and_split_ones_never_change_the_order():
    chosen, rejected = torch.tensor([[-90.0, -1.0, -5.0], [-1.0, -1.0, -9.0]])
    assert idealised_accuracy(chosen, rejected, 0.1, 1.0).tolist() == [1, 1, 1]
    assert idealised_accuracy(chosen, rejected, 0.1, 0.0).tolist() == [0, 0, 0]
    assert idealised_accuracy(chosen, rejected, 0.1, 0.5).tolist() == [0, 0.5, 1]
    shares = torch.tensor([1.0, 0.75, 0.01])
    assert idealised_accuracy(chosen, rejected, 0.1, shares).tolist() == [1, 1, 0]


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_the_loss_threshold_tells_the_order_of_1e5_pairs(beta):
    """Without a mismatch, but for gaps below 1e-9 nats, where rounding may decide."""
    generator = torch.Generator().manual_seed(0)
    w, l, ref_w, ref_l = 20 * torch.randn(4, 100_000, dtype=torch.float64, generator=generator)  # noqa: E741
    view = PairLogProbs(
        policy_chosen=w, policy_rejected=l, reference_chosen=ref_w, reference_rejected=ref_l
    )
    loss = methods.dpo(beta)(view)
    known = (w - l).abs() > 1e-9
    resolved = loss != flip_loss(ref_w, ref_l, beta)  # losses that underflow to one number
    below = loss <= flip_loss(ref_w, ref_l, beta)
    assert (below == (w > l))[known & resolved].all()
    assert (known & resolved).double().mean() > 0.99
    torch.testing.assert_close(flip_difficulty(ref_w, ref_l), ref_l - ref_w)


def test_an_easy_pair_turns_at_a_high_loss_and_a_hard_one_at_a_low():
    zero = torch.zeros(3)
    threshold = flip_loss(zero, torch.tensor([-5.0, 0.0, 5.0]), 1.0)
    assert threshold[1].item() == pytest.approx(math.log(2))
    assert threshold[0] > 5
    assert threshold[2] < 0.01


def test_what_cannot_be():
    one = torch.ones(1)
    with pytest.raises(BadData, match=r"must be in \[0, 1\], got 1.5"):
        ideal_gap(one, one, 0.1, 1.5)
    with pytest.raises(BadData, match=r"must be in \[0, 1\], got nan"):
        ideal_gap(one, one, 0.1, math.nan)
    with pytest.raises(BadConfig, match="beta must be finite and above 0"):
        ideal_gap(one, one, 0.0, 0.5)
    with pytest.raises(BadConfig, match="beta must be finite and above 0"):
        flip_loss(one, one, -1.0)
    empty = PairLogProbs(
        policy_chosen=-one, policy_rejected=-one, chosen_tokens=one, rejected_tokens=0 * one
    )
    with pytest.raises(BadData, match="an answer without tokens"):
        ranking_accuracy(empty)
