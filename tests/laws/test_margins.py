"""Laws of margins of pairs, over every instance and every divergence they are legal with."""

import math
from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from torch.testing import assert_close

from collimate import margins
from collimate._checks import BadComposition
from collimate._types import PairLogProbs
from collimate.divergences import (
    alpha,
    chi_squared_kl,
    forward_kl,
    generalized_jensen_shannon,
    jeffreys,
    jensen_shannon,
    reverse_kl,
    skewed_jensen_shannon,
    skewed_reverse_kl,
)
from collimate.margins import Margin
from tests.pairs import swapped

ALL = [m for m in vars(margins).values() if isinstance(m, Margin) and m.needs.view == "pairs"]
ALL += [margins.bent_log_prob_gap(0.25), margins.bent_log_prob_gap(-0.5)]
ALL += [margins.penalised_log_ratio_gap(5.0), margins.log_coverage(8)]
GAPS = [m for m in ALL if m.compares]
STEEP = [forward_kl, alpha(0.3), alpha(0.5), alpha(1.0), alpha(2.0), alpha(3.0)]
STEEP.append(jeffreys)
MILD = [
    *(reverse_kl, jensen_shannon, alpha(0.0)),
    *(generalized_jensen_shannon(b) for b in (0.1, 0.5, 0.9)),
    *(skewed_jensen_shannon(0.3, 0.2), skewed_reverse_kl(0.1)),
]

every = pytest.mark.parametrize("margin", ALL, ids=attrgetter("name"))
each = pytest.mark.parametrize("divergence", MILD + STEEP, ids=attrgetter("name"))
steep = pytest.mark.parametrize("divergence", STEEP, ids=attrgetter("name"))


def view_of(chosen, rejected, dtype=torch.float64):
    """Pairs with the given log-ratios, on references that are all different."""
    chosen, rejected = torch.as_tensor(chosen, dtype=dtype), torch.as_tensor(rejected, dtype=dtype)
    reference = -torch.arange(1, len(chosen) + 1, dtype=dtype)
    return PairLogProbs(
        policy_chosen=chosen + reference,
        policy_rejected=rejected + 2 * reference,
        reference_chosen=reference,
        reference_rejected=2 * reference,
        chosen_tokens=torch.full_like(chosen, 20),
        rejected_tokens=torch.full_like(chosen, 25),
        gold=chosen + rejected + 3 * reference,
    )


# What the chosen answer lost has no mirror; sorted gaps mirror in another order.
MIRRORED = [m for m in GAPS if not m.name.startswith(("penalised", "sorted_gap"))]


@pytest.mark.parametrize("margin", MIRRORED, ids=attrgetter("name"))
@each
def test_swapping_the_answers_flips_the_sign(margin, divergence):
    view = view_of(torch.linspace(-100, 30, 12), torch.linspace(40, -90, 12))
    h = margin(view, divergence=divergence)
    assert (h != 0).all()
    assert torch.equal(margin(swapped(view), divergence=divergence), -h)


@each
def test_log_ratio_gap_is_the_difference_of_slopes_above_the_knee(divergence):
    chosen, rejected = torch.tensor([0.5, -3.0, 10.0, -9.9]), torch.tensor([2.0, -7.0, -8.0, 0.0])
    h = margins.log_ratio_gap(view_of(chosen, rejected), divergence=divergence)
    want = divergence.f_prime(chosen.double()) - divergence.f_prime(rejected.double())
    assert_close(h, want, rtol=1e-12, atol=0)


@each
def test_log_ratio_gap_rises_with_the_chosen_and_falls_with_the_rejected(divergence):
    u = torch.linspace(-1000, 5, 200, dtype=torch.float64)
    zero = torch.zeros_like(u)
    up = margins.log_ratio_gap(view_of(u, zero), divergence=divergence)
    down = margins.log_ratio_gap(view_of(zero, u), divergence=divergence)
    assert (up.diff() > 0).all()
    assert (down.diff() < 0).all()


def _reward(u, divergence):
    """The implicit reward of a log-ratio, f'(e^u) or its continuation."""
    view = view_of(u, torch.zeros_like(u))
    view = PairLogProbs(  # without a reference, so that no rounding hides what is measured
        policy_chosen=u,
        policy_rejected=torch.zeros_like(u),
        reference_chosen=torch.zeros_like(u),
        reference_rejected=torch.zeros_like(u),
    )
    counted = margins.log_ratio_gap.measure(view, divergence=divergence)["linear_continuation"]
    return margins.log_ratio_gap(view, divergence=divergence), counted


@steep
def test_exploding_slope_continues_linearly_and_is_counted(divergence):
    u = torch.linspace(-300, 0, 3001, dtype=torch.float64)
    h, counted = _reward(u, divergence)
    assert counted.dtype == torch.bool
    first, last = int(counted.sum()), len(u)  # the smallest u are the ones that are counted
    assert counted[:first].all()
    assert not counted[first:last].any()
    knee = u[first].item()
    if divergence.name in ("jeffreys", "forward_kl", "alpha(0.3)", "alpha(0.5)", "alpha(1)"):
        assert knee == pytest.approx(-60, abs=0.11)
    else:  # sooner, so that float32 holds the value
        assert -60 < knee < -15
    bends = h.diff().diff().abs() / h.abs()[1:-1]
    assert (bends[: first - 2] < 1e-12).all()
    assert (bends[first + 1 : last - 100] > 1e-6).all()
    assert_close(h[first:], divergence.f_prime(u[first:]), rtol=1e-12, atol=0)


@steep
def test_value_and_slope_are_continuous_at_the_knee(divergence):
    grid = torch.linspace(-100, -10, 90001, dtype=torch.float64)
    knee = grid[int(_reward(grid, divergence)[1].sum())].item()
    u = torch.tensor([knee - 2e-3, knee + 1e-3], dtype=torch.float64, requires_grad=True)
    h, counted = _reward(u, divergence)
    assert counted.tolist() == [1, 0]
    (slope,) = torch.autograd.grad(h.sum(), u)
    assert h[0].item() == pytest.approx(h[1].item(), rel=0.02)
    assert slope[0].item() == pytest.approx(slope[1].item(), rel=0.02)


@pytest.mark.parametrize("divergence", MILD, ids=attrgetter("name"))
def test_mild_slopes_are_never_continued(divergence):
    u = torch.tensor([-1000.0, -61.0, 0.0], dtype=torch.float64)
    h, counted = _reward(u, divergence)
    assert not counted.any()
    assert_close(h, divergence.f_prime(u), rtol=1e-14, atol=0)


@every
@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_finite_with_finite_gradients_to_a_thousand_nats(margin, divergence, dtype):
    u = torch.tensor([1000.0, -1000.0, 1000.0, -1000.0, 0.0, -60.0, -59.9], dtype=dtype)
    v = torch.tensor([1000.0, -1000.0, -1000.0, 1000.0, -1000.0, 1.0, -60.1], dtype=dtype)
    view = view_of(u, v, dtype)
    view.policy_chosen.requires_grad_()
    view.policy_rejected.requires_grad_()
    view.gold.requires_grad_()
    h = margin(view, divergence=divergence)
    at = (view.policy_chosen, view.policy_rejected, view.gold)
    slopes = torch.autograd.grad(h.sum(), at, materialize_grads=True, allow_unused=True)
    assert h.dtype == dtype
    for numbers in (h, *slopes):
        assert numbers.isfinite().all()
    if margin.compares:
        assert (slopes[0] >= 0).all()
        assert (slopes[1] <= 0).all()


@every
def test_implicit_rewards_need_a_reference(margin):
    assert margin.needs.reference or not margin.closed_form


@pytest.mark.parametrize("margin", [m for m in ALL if m.needs.reference], ids=attrgetter("name"))
def test_missing_reference_is_named(margin):
    alone = PairLogProbs(policy_chosen=torch.zeros(1), policy_rejected=torch.zeros(1))
    with pytest.raises(BadComposition, match="reference_chosen"):
        margin(alone, divergence=reverse_kl)


@every
def test_targets_are_finite_and_free_of_the_policy(margin):
    view = view_of([1.0, 2.0], [0.0, 5.0])
    moved = view_of([-1.0, 7.0], [3.0, 0.0])
    for a, b in zip(
        torch.as_tensor(margin.target(view)).reshape(-1),
        torch.as_tensor(margin.target(moved)).reshape(-1),
        strict=True,
    ):
        assert math.isfinite(a)
        assert a == b


def by_hand() -> PairLogProbs:
    return PairLogProbs(
        policy_chosen=torch.tensor([-6.0, -1.0], dtype=torch.float64),
        policy_rejected=torch.tensor([-8.0, -4.0], dtype=torch.float64),
        reference_chosen=torch.tensor([-5.0, -3.0], dtype=torch.float64),
        reference_rejected=torch.tensor([-5.0, -5.0], dtype=torch.float64),
        chosen_tokens=torch.tensor([3, 2]),
        rejected_tokens=torch.tensor([4, 1]),
        columns={"margin": torch.tensor([2.0, 0.5])},
    )


LOG_ODDS = [-2 - math.log(1 - math.exp(-2)), -0.5 - math.log(1 - math.exp(-0.5))]
REJECTED_ODDS = [-2 - math.log(1 - math.exp(-2)), -4 - math.log(1 - math.exp(-4))]


@pytest.mark.parametrize(
    ("margin", "want"),
    [
        (margins.log_ratio_gap, [2.0, 1.0]),
        (margins.length_normalised_log_ratio_gap, [-1 / 3 + 3 / 4, 1 - 1]),
        (margins.log_prob_gap, [2.0, 3.0]),
        (margins.mean_log_prob_gap, [0.0, 3.5]),
        (margins.bent_log_prob_gap(0.5), [0.0, 2 * (math.exp(2) - math.exp(0.25))]),
        (margins.chosen_log_odds, LOG_ODDS),
        (margins.rejected_log_odds, REJECTED_ODDS),
        (margins.log_odds_gap, [a - b for a, b in zip(LOG_ODDS, REJECTED_ODDS, strict=True)]),
        (margins.chosen_log_ratio, [-1.0, 2.0]),
        (margins.rejected_log_ratio, [-3.0, 1.0]),
        (margins.chosen_log_prob, [-6.0, -1.0]),
        (margins.chosen_mean_log_prob, [-2.0, -0.5]),
        (margins.penalised_log_ratio_gap(5.0), [2.0 - 5.0, 1.0]),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_each_by_hand(margin, want):
    got = margin(by_hand(), divergence=reverse_kl)
    assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_targets_by_hand():
    assert margins.length_target(0.1)(by_hand()).tolist() == pytest.approx([0.1, -0.1])
    want = [3 * math.log(2), 3 * math.log(0.5)]
    assert margins.log_score_target(3.0)(by_hand()).tolist() == pytest.approx(want)


def test_targets_say_what_they_miss():
    bare = PairLogProbs(policy_chosen=torch.zeros(1), policy_rejected=torch.zeros(1))
    with pytest.raises(BadComposition, match="chosen_tokens"):
        margins.length_target(0.1)(bare)
    with pytest.raises(BadComposition, match="column 'margin'"):
        margins.log_score_target(1.0)(bare)
    with pytest.raises(BadComposition, match="above 0; its least value is 0"):
        margins.log_score_target(1.0)(replace(by_hand(), columns={"margin": torch.zeros(2)}))
    with pytest.raises(BadComposition, match="no token that counts"):
        margins.mean_log_prob_gap(
            replace(by_hand(), chosen_tokens=torch.tensor([0, 1])), divergence=reverse_kl
        )


def test_log_odds_of_a_certain_answer_go_on_by_their_tangent():
    certain = torch.tensor([0.0, -1e-7, -2e-6], dtype=torch.float64, requires_grad=True)
    view = PairLogProbs(
        policy_chosen=certain,
        policy_rejected=torch.full_like(certain, -1.0),
        chosen_tokens=torch.ones(3),
        rejected_tokens=torch.ones(3),
    )
    h = margins.chosen_log_odds(view, divergence=reverse_kl)
    (slope,) = torch.autograd.grad(h.sum(), certain)
    assert h[2].item() == pytest.approx(math.log(math.exp(-2e-6) / -math.expm1(-2e-6)), rel=1e-9)
    assert slope[:2].tolist() == pytest.approx([1e6, 1e6], rel=1e-5)
    assert h[0] > h[1] > h[2]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_the_slope_of_log_odds_keeps_its_digits(dtype, error):
    """1/(1 - P): it had lost six digits to the tangent above, which is 3 % of it in float32."""
    mean = torch.tensor([-8.0, -2.0, -0.5], dtype=dtype, requires_grad=True)
    ones = torch.ones(3)
    view = PairLogProbs(
        policy_chosen=mean, policy_rejected=mean, chosen_tokens=ones, rejected_tokens=ones
    )
    h = margins.chosen_log_odds(view, divergence=reverse_kl)
    (slope,) = torch.autograd.grad(h.sum(), mean)
    assert_close(slope, 1 / (1 - mean.detach().exp()), rtol=error, atol=0)


def test_a_slope_that_explodes_above_is_continued_there():
    u = torch.linspace(-80, 300, 381, dtype=torch.float64)
    h, counted = _reward(u, chi_squared_kl)
    assert counted.tolist() == (u > 60).tolist()
    tame = u <= 60
    assert_close(h[tame], chi_squared_kl.f_prime(u[tame]), rtol=1e-12, atol=0)
    bends = h.diff().diff()[u[1:-1] > 61].abs()
    assert (bends <= 1e-9 * h[-1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a", [0.25, 2.0, 30.0])
def test_a_bent_reward_continues_linearly_and_is_counted(a, dtype):
    """R = (1 - e^{-a·L})/a down to -a·L = 60, its tangent below: finite, and so are the slopes."""
    x = torch.linspace(0, 2000, 401, dtype=dtype)  # -a·L; 0 for the rejected answer
    policy = (-x / a).requires_grad_()
    view = PairLogProbs(
        policy_chosen=policy,
        policy_rejected=torch.zeros_like(x),
        chosen_tokens=torch.ones_like(x),
        rejected_tokens=torch.ones_like(x),
    )
    margin = margins.bent_log_prob_gap(a)
    h = margin(view, divergence=reverse_kl)
    wide = x.double()
    knee = wide.clamp(max=60)
    want = -(torch.expm1(knee) + math.exp(60) * (wide - knee)) / a
    assert_close(h.double(), want, rtol=1e-4 if dtype is torch.float32 else 1e-12, atol=0)
    (slope,) = torch.autograd.grad(h.sum(), policy)
    rtol = 1e-4 if dtype is torch.float32 else 1e-10
    assert_close(slope.double(), knee.exp(), rtol=rtol, atol=0)
    counted = margin.measure(view, divergence=reverse_kl)["linear_continuation"]
    beyond = (x - 60).abs() > 1e-3  # at the knee itself rounding decides
    assert torch.equal(counted[beyond], (x > 60)[beyond])


@pytest.mark.parametrize(
    "margin", [margins.sorted_gap, margins.sorted_log_ratio_gap], ids=attrgetter("name")
)
def test_sorted_gaps_refuse_weights_that_differ(margin):
    view = view_of([1.0, 2.0, 0.5], [0.0, -1.0, 3.0])
    equal = replace(view, columns={"weight": torch.full((3,), 0.5)})
    h = margin(view, divergence=reverse_kl)
    assert torch.equal(margin(equal, divergence=reverse_kl), h)
    uneven = replace(view, columns={"weight": torch.tensor([0.5, 0.5, 2.0])})
    with pytest.raises(BadComposition, match=r"expected equal weights, got 0.5 to 2: leave out"):
        margin(uneven, divergence=reverse_kl)
