"""Presets of labelled answers and of lists are their publications' equations."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from collimate import losses, methods
from collimate._checks import BadComposition
from collimate._types import ListLogProbs, PairLogProbs, ThumbLogProbs
from tests.methods.answers import CASES, COUNT, lists, thumbs

every = pytest.mark.parametrize(
    ("name", "view", "preset", "equation"), CASES, ids=[case[0] for case in CASES]
)


@pytest.mark.parametrize("beta", [0.05, 0.1, 0.5, 2.0])
@every
def test_preset_is_the_published_equation(name, view, preset, equation, beta):
    method = preset(beta)
    assert method.name == name
    want = torch.tensor(equation(view(), beta), dtype=torch.float64)
    assert_close(method(view()), want, rtol=1e-10, atol=1e-15)


def held(preset, equation, view, beta):
    """The preset with its statistics of the step as they are, for finite differences."""
    method, whole = preset(beta), view()
    if method.margin.name == "reference_point_log_ratio":
        return lambda policy: method(replace(whole, policy=policy)).sum()  # z reads other answers
    if method.margin.name != "shifted_log_ratio":
        return lambda policy: method(view(policy)).sum()
    ratio = whole.log_ratios()
    d = sum(ratio[whole.label == sign].mean() for sign in (1, -1)) / 2
    weight = method.factor.value(whole, {})
    return lambda policy: (
        weight * losses.logistic(beta * whole.label * (policy - whole.reference - d))
    ).sum()


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
@every
def test_gradient_is_that_of_finite_differences(name, view, preset, equation, beta):
    total, at = held(preset, equation, view, beta), view().policy.clone().requires_grad_()
    (slope,) = torch.autograd.grad(preset(beta)(view(at)).sum(), at)
    along = torch.randn(len(at), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step, base = 1e-6, at.detach()
    found = (total(base + step * along) - total(base - step * along)) / (2 * step)
    size = (slope * along).abs().sum() + total(base).abs() * 1e-9 / step
    assert abs((slope @ along) - found) <= 1e-6 * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every
def test_loss_and_gradient_are_finite_to_a_thousand_nats(name, view, preset, equation, dtype):
    whole = view()
    u = 1000 * torch.tensor([1.0, -1.0, 0.5, 0.0, -0.5])[torch.arange(len(whole.policy)) % 5].to(
        dtype
    )
    policy = u.clamp(max=0).requires_grad_()
    changed = replace(whole, policy=policy, reference=(-u).clamp(max=0))
    loss = preset(0.5)(changed)
    (slope,) = torch.autograd.grad(loss.sum(), policy)
    assert loss.isfinite().all()
    assert slope.isfinite().all()


def test_a_ranking_of_two_is_dpo():
    generator = torch.Generator().manual_seed(0)
    p, q = -9 * torch.rand(2, 40, dtype=torch.float64, generator=generator)
    pairs = PairLogProbs(
        policy_chosen=p[0::2],
        policy_rejected=p[1::2],
        reference_chosen=q[0::2],
        reference_rejected=q[1::2],
    )
    ranked = ListLogProbs(
        policy=p,
        reference=q,
        score=torch.tensor([1.0, 0.0]).repeat(20),
        group=torch.arange(20).repeat_interleave(2),
    )
    assert_close(methods.plackett_luce(0.3)(ranked), methods.dpo(0.3)(pairs), rtol=1e-12, atol=0)
    assert_close(methods.d2o(0.3, 0.3)(ranked), methods.dpo(0.3)(pairs), rtol=1e-12, atol=0)


def test_one_against_many_costs_no_more_than_its_pairs():
    """Jensen: D2O's loss is at most the mean of the pairwise losses."""
    whole = lists()
    ratio = whole.log_ratios()
    together = methods.d2o(0.7, 0.7)(whole)
    for i in range(len(whole)):
        own = ratio[whole.group == i]
        order = whole.score[whole.group == i].argsort(descending=True)
        kept, worst = own[order[:-1]], own[order[-1]]
        assert together[i] <= losses.logistic(0.7 * (kept - worst)).mean() + 1e-12


def test_ties_in_a_ranking_and_lists_of_one_are_refused():
    alone = ListLogProbs(
        policy=-torch.ones(2),
        reference=-torch.ones(2),
        score=torch.zeros(2),
        group=torch.zeros(2).long(),
    )
    for preset, reason in ((methods.plackett_luce, "two are equal"), (methods.d2o, "one worst")):
        with pytest.raises(BadComposition, match=reason):
            preset()(alone)
    single = replace(alone, group=torch.arange(2))
    for preset in (methods.plackett_luce, methods.d2o):
        with pytest.raises(BadComposition, match="two answers or more"):
            preset()(single)


def test_answers_of_equal_score_may_stand_against_one_worst():
    view = ListLogProbs(
        policy=torch.tensor([-1.0, -2.0, -3.0]),
        reference=-torch.ones(3),
        score=torch.tensor([1.0, 1.0, 0.0]),
        group=torch.zeros(3).long(),
    )
    want = losses.logistic(0.5 * (torch.tensor([0.0, -1.0]).mean() - -2.0))
    assert_close(methods.d2o(0.5, 0.5)(view), want[None])


def test_the_reference_point_counts_rows_by_their_weight():
    whole = thumbs()
    rows = torch.arange(COUNT)
    weight = (rows % 4 != 0).double()
    kept = weight.bool()
    weighted = replace(whole, mismatched_columns={"weight": weight})
    without = replace(
        whole,
        mismatched_policy=whole.mismatched_policy[kept],
        mismatched_reference=whole.mismatched_reference[kept],
    )
    assert_close(methods.kto(0.3)(weighted), methods.kto(0.3)(without), rtol=1e-12, atol=0)
    assert not torch.allclose(methods.kto(0.3)(whole), methods.kto(0.3)(without))


def test_a_binary_classifier_bounds_dpo():
    """-log s(r_w - d) - log s(d - r_l) > -log s(r_w - r_l) for any d; the gap is least at the middle."""
    generator = torch.Generator().manual_seed(0)
    r_w, r_l, d = 3 * torch.randn(3, 10_000, dtype=torch.float64, generator=generator)
    bound = losses.logistic(r_w - d) + losses.logistic(d - r_l)
    assert (bound > losses.logistic(r_w - r_l)).all()
    middle = (r_w + r_l) / 2
    best = losses.logistic(r_w - middle) + losses.logistic(middle - r_l)
    assert (best <= bound + 1e-12).all()


def test_a_step_of_one_kind_is_shifted_by_its_own_mean():
    view = ThumbLogProbs(
        policy=torch.tensor([-1.0, -2.0]), reference=torch.tensor([-1.0, -4.0]), label=torch.ones(2)
    )
    want = losses.logistic(0.1 * torch.tensor([-1.0, 1.0]))
    assert_close(methods.bco(0.1)(view), want)


def test_kto_starts_at_one_half_and_its_point_is_not_below_zero():
    whole = thumbs()
    equal = replace(whole, policy=whole.reference, mismatched_policy=whole.mismatched_reference)
    assert_close(methods.kto()(equal), torch.full_like(equal.policy, 0.5), rtol=1e-12, atol=0)
    low = replace(whole, mismatched_policy=whole.mismatched_reference - 5)
    zero = replace(whole, mismatched_policy=whole.mismatched_reference)
    assert torch.equal(methods.kto()(low), methods.kto()(zero))


def test_missing_parts_are_named():
    whole = thumbs()
    with pytest.raises(BadComposition, match="mismatched_policy"):
        methods.kto()(replace(whole, mismatched_policy=None))
    for preset in (methods.kto, methods.bco, methods.apo_zero_unpaired):
        with pytest.raises(BadComposition, match="no reference"):
            preset()(replace(whole, reference=None))
    assert methods.bco()(replace(whole, columns={})).isfinite().all()


def test_weights_of_lists_reach_their_answers():
    whole = lists()
    weight = torch.linspace(0, 2, len(whole), dtype=torch.float64)
    weighted = replace(whole, columns={"weight": weight})
    of_lists = methods.plackett_luce().terms(weighted, {})["loss"].weight
    of_answers = methods.direct_advantage_po().terms(weighted, {})["loss"].weight
    assert torch.equal(of_lists, weight)
    assert torch.equal(of_answers, weight[whole.group])


def test_the_loss_of_a_ranking_is_minus_the_log_of_its_probability():
    z = torch.tensor([[1.0, 0.0, -2.0], [0.5, -math.inf, -math.inf], [2.0, 1.0, -math.inf]])
    z = z.double().requires_grad_()
    loss = losses.plackett_luce(z)
    e = z.detach().exp().tolist()
    want = [e[0][0] / sum(e[0]) * e[0][1] / (e[0][1] + e[0][2]), 1.0, e[2][0] / (e[2][0] + e[2][1])]
    assert_close(loss, -torch.tensor(want, dtype=torch.float64).log(), rtol=1e-12, atol=1e-15)
    (slope,) = torch.autograd.grad(loss.sum(), z)
    assert slope.isfinite().all()
    assert slope[z == -math.inf].abs().max() == 0
