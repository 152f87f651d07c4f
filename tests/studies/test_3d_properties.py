"""yan:25, 3D-properties of DPO: rejected answers drop, chosen ones degrade, unseen ones gain."""

import math

import pytest
import torch

from collimate import methods
from collimate._types import PairLogProbs
from collimate.compose import Method


def slopes(method, p_chosen, p_rejected):
    """|dL/dp_w| and |dL/dp_l| with both probabilities free, of a reference that gave each 0.5."""
    p = torch.tensor([p_chosen, p_rejected], dtype=torch.float64, requires_grad=True)
    half = torch.full((1,), math.log(0.5), dtype=torch.float64)
    log_p = p.log()
    view = PairLogProbs(
        policy_chosen=log_p[:1],
        policy_rejected=log_p[1:],
        reference_chosen=half,
        reference_rejected=half,
    )
    (slope,) = torch.autograd.grad(method(view).sum(), p)
    return slope.abs().tolist()


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 2.0])
def test_the_ratio_of_the_gradients_is_that_of_the_probabilities(beta):
    for p_w, p_l in ((0.5, 0.5), (0.3, 1e-3), (0.9, 1e-8), (1e-4, 0.2)):
        on_chosen, on_rejected = slopes(methods.dpo(beta), p_w, p_l)
        assert on_chosen / on_rejected == pytest.approx(p_l / p_w, rel=1e-9)


@pytest.mark.parametrize(("beta", "size"), [(0.5, 7.1e4), (1.0, 2.0), (2.0, 8e-10)])
def test_the_pull_on_a_vanishing_rejected_answer_explodes_below_beta_one_only(beta, size):
    """As p_l^(beta - 1): it diverges, is constant, vanishes; the chosen one's always vanishes."""
    near, far = (slopes(methods.dpo(beta), 0.5, p_l) for p_l in (1e-10, 1e-8))
    assert far[1] / near[1] == pytest.approx(100 ** (beta - 1), rel=1e-3)
    assert near[1] == pytest.approx(size, rel=0.01)
    assert near[0] < 1e-4


def trained(method, steps=400, rate=0.5):
    """Probabilities before and after, of a softmax that is linear in features the answers share.

    Answers 0 and 1 are the chosen and the rejected one, and look alike; 2 and 3 are unseen.
    """
    features = torch.tensor([[1.0, 0.2], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    before = (features @ start).log_softmax(-1)
    theta = start.clone()
    for _ in range(steps):
        log_p = (features @ theta.requires_grad_()).log_softmax(-1)
        view = PairLogProbs(
            policy_chosen=log_p[:1],
            policy_rejected=log_p[1:2],
            reference_chosen=before[:1],
            reference_rejected=before[1:2],
            chosen_tokens=torch.ones(1),
            rejected_tokens=torch.ones(1),
        )
        (slope,) = torch.autograd.grad(method(view).sum(), theta)
        theta = (theta - rate * slope).detach()
    return before.exp(), (features @ theta).softmax(-1)


def flex_dpo(view):
    """-log sigmoid(b+·u_w - b-·u_l) with b- a fifth of b+: the publication's first remedy."""
    chosen, rejected = view.log_ratios()
    return -torch.nn.functional.logsigmoid(0.5 * chosen - 0.1 * rejected)


def test_dpo_drops_both_answers_and_feeds_the_unseen():
    """Measured: chosen 0.46 to 0.013, rejected 0.46 to 0.003, unseen 0.07 to 0.98."""
    before, after = trained(methods.dpo(0.5))
    assert after[1] < before[1] / 100  # drastic drop
    assert after[0] < before[0] / 10  # degradation
    assert after[2:].sum() > 0.9  # dispersion
    before, after = trained(methods.dpo(0.5), steps=1000, rate=10.0)
    assert after[1] < 1e-15


@pytest.mark.parametrize(
    "method",
    [Method.of(flex_dpo), methods.rpo_sft(0.5, 0.5), methods.dpop(0.5, 5.0), methods.asft(0.5)],
    ids=lambda m: m.name,
)
def test_a_weaker_push_or_a_likelihood_keeps_the_chosen_answer(method):
    before, after = trained(method)
    assert after[0] > before[0]
    assert after[1] < before[1]
