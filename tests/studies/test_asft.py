"""wang:24b: absolute likelihoods. An identity, a bound, and what they do to the chosen answer."""

import math

import pytest
import torch
from torch.testing import assert_close

from collimate import losses, margins, methods
from collimate._types import PairLogProbs
from collimate.divergences import none
from collimate.lab import World, fit


def likelihoods(count=100_000):
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(2, count, dtype=torch.float64, generator=generator)
    ones = torch.ones(count)
    return PairLogProbs(
        policy_chosen=numbers[0].clamp(1e-9, 1 - 1e-9).log(),
        policy_rejected=numbers[1].clamp(1e-9, 1 - 1e-9).log(),
        chosen_tokens=ones,
        rejected_tokens=ones,
    )


def test_the_bracket_is_the_log_likelihood_of_a_yes_and_a_no():
    """-log s(o_w) - log s(-o_l) = -log P_w - log(1 - P_l)."""
    view = likelihoods()
    terms = methods.asft(0.3).terms(view, {})
    bracket = terms["chosen_odds"].values + terms["rejected_odds"].values
    p_w, p_l = view.policy_chosen.exp(), view.policy_rejected.exp()
    assert_close(bracket, -torch.log(p_w) - torch.log1p(-p_l), rtol=1e-10, atol=1e-13)
    assert_close(terms["loss"].values, -torch.log(p_w))


def test_it_is_above_the_odds_ratio_of_orpo():
    view = likelihoods()
    terms = methods.asft(0.3).terms(view, {})
    bracket = terms["chosen_odds"].values + terms["rejected_odds"].values
    odds_ratio = losses.logistic(margins.log_odds_gap(view, divergence=none))
    assert (bracket - odds_ratio).min() > 0


@pytest.mark.parametrize("p_l", [0.5, 1e-3, 1e-9])
def test_the_push_on_a_vanishing_answer_is_bounded_where_dpos_is_not(p_l):
    """|dL/dP_l| over |dL/dP_w| of the bracket is P_w/(1 - P_l); DPO's is P_w/P_l."""
    p = torch.tensor([0.4, p_l], dtype=torch.float64, requires_grad=True)
    log_p = p.log()
    half = torch.full((1,), math.log(0.5), dtype=torch.float64)
    view = PairLogProbs(
        policy_chosen=log_p[:1],
        policy_rejected=log_p[1:],
        reference_chosen=half,
        reference_rejected=half,
        chosen_tokens=torch.ones(1),
        rejected_tokens=torch.ones(1),
    )
    terms = methods.asft(0.3).terms(view, {})
    bracket = (terms["chosen_odds"].values + terms["rejected_odds"].values).sum()
    (asft,) = torch.autograd.grad(bracket, p, retain_graph=True)
    (dpo,) = torch.autograd.grad(methods.dpo(0.1)(view).sum(), p)
    assert abs(asft[1] / asft[0]).item() == pytest.approx(0.4 / (1 - p_l), rel=1e-9)
    assert abs(dpo[1] / dpo[0]).item() == pytest.approx(0.4 / p_l, rel=1e-9)


def facts(world, method):
    """Reward and likelihood accuracy, mean change of the chosen answers' log-prob, of a fit."""
    policy = fit(world, method).log_probs
    labels, u = world.labels(), policy - world.reference_log_probs
    reward, likelihood = (
        (labels * (1 + (x[:, :, None] - x[:, None, :]).sign()) / 2).sum((-2, -1)).mean().item()
        for x in (u, policy)
    )
    return reward, likelihood, (labels.sum(-1) * u).sum(-1).mean().item()


def test_it_raises_the_chosen_answers_where_dpo_lowers_them_at_one_reward_accuracy():
    """Measured: accuracy 0.739 and 0.740, chosen +0.09 and -1.08 nats.

    At one *likelihood* accuracy, 0.63 (DPO at beta 2), DPO raises them too, by 0.07: it is the size
    of the pull that lowers them.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 4, 8, dtype=torch.float64, generator=generator)
    log_q = numbers[0].log_softmax(-1)
    world = World(log_q, numbers[1], pair_law=log_q.exp())
    asft, strong, weak = (
        facts(world, m) for m in (methods.asft(0.1), methods.dpo(0.5), methods.dpo(2.0))
    )
    assert asft[0] == pytest.approx(strong[0], abs=0.005)
    assert asft[2] > 0.05
    assert strong[2] < -1.0
    assert asft[1] == pytest.approx(weak[1], abs=0.01)
    assert 0.05 < weak[2] < asft[2]
