"""Laws of losses, over every instance in the package and those with parameters."""

import math
from operator import attrgetter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from collimate import losses
from collimate._checks import BadConfig
from collimate.losses import (
    Loss,
    bernoulli_kl,
    debiased_logistic,
    discopop_loss,
    exponential,
    hinge,
    logistic,
    negated_sigmoid,
    negation,
    savage,
    smoothed_logistic,
    squared,
    truncated_quadratic,
)

ALL = [loss for loss in vars(losses).values() if isinstance(loss, Loss)]
ALL.remove(losses.plackett_luce)  # of lists: tests/methods/test_answers.py
ALL += [squared(), squared(unit=0.05), smoothed_logistic(0.1), smoothed_logistic(0.45)]
ALL += [debiased_logistic(0.1), debiased_logistic(0.45), bernoulli_kl(), bernoulli_kl(0.2)]
ALL += [discopop_loss(), discopop_loss(0.5)]
BENT = (
    "savage",
    "sigmoid",
    "negated_sigmoid",
    "bernoulli_kl",
    "discopop",
)  # by their nature not convex
FALLING = ("debiased_logistic", "negation", "negated_sigmoid")  # below zero

every = pytest.mark.parametrize("loss", ALL, ids=attrgetter("name"))
convex = pytest.mark.parametrize(
    "loss", [x for x in ALL if not x.name.startswith(BENT)], ids=attrgetter("name")
)
numbers = st.floats(-200, 200)


@convex
@given(x=numbers, y=numbers, weight=st.floats(0, 1))
def test_convex(loss, x, y, weight):
    z = torch.tensor([x, y, weight * x + (1 - weight) * y], dtype=torch.float64)
    at_x, at_y, between = loss(z).tolist()
    chord = weight * at_x + (1 - weight) * at_y
    assert between <= chord + 1e-12 * (abs(at_x) + abs(at_y))


@every
def test_non_negative_and_punishes_a_missed_margin(loss):
    z = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    assert (loss(z) >= 0).all() != loss.name.startswith(FALLING)
    missed = loss(z[(z < -1) & (z > -20)])  # further out the bounded ones are flat
    assert (missed.diff() < 0).all()


@pytest.mark.parametrize(
    "loss", [savage, negated_sigmoid, bernoulli_kl(0.2), discopop_loss()], ids=attrgetter("name")
)
def test_those_said_to_be_bent_are(loss):
    z = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    assert (loss(z).diff().diff() < -1e-9).any()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_finite_with_two_finite_derivatives_to_a_thousand(loss, dtype):
    z = torch.tensor([-1000.0, -90.0, -1.0, 0.0, 1.0, 90.0, 1000.0], dtype=dtype)
    z.requires_grad_()
    value = loss(z)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum() + 0 * z.sum(), z)
    assert value.dtype == dtype
    for result in (value, slope, curvature):
        assert result.isfinite().all()


@every
def test_shape_is_kept_and_entries_do_not_meet(loss):
    z = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(3, 4)
    one_by_one = torch.stack([loss(x.reshape(1)) for x in z.flatten()]).reshape(3, 4)
    assert_close(loss(z), one_by_one, rtol=1e-15, atol=0)


@given(z=numbers)
def test_logistic_differs_from_its_mirror_by_z(z):
    x = torch.tensor(z, dtype=torch.float64)
    assert (logistic(x) - logistic(-x)).item() == pytest.approx(-z, rel=1e-14, abs=1e-15)


@given(z=st.floats(-30, 30))
def test_logistic_is_minus_log_sigmoid(z):
    x = torch.tensor(z, dtype=torch.float64)
    assert logistic(x).item() == pytest.approx(math.log1p(math.exp(-z)), rel=1e-13)


def test_logistic_keeps_its_digits_in_the_tail():
    x = torch.tensor([40.0, 80.0])
    assert_close(logistic(x), torch.exp(-x), rtol=1e-6, atol=0)


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.3, 0.49])
def test_smoothed_logistic_mixes_and_has_its_minimum_at_the_log_odds(smoothing):
    z = torch.tensor([math.log((1 - smoothing) / smoothing), -2.0, 3.0], dtype=torch.float64)
    z.requires_grad_()
    value = smoothed_logistic(smoothing)(z)
    mixed = (1 - smoothing) * logistic(z) + smoothing * logistic(-z)
    assert_close(value, mixed, rtol=1e-14, atol=0)
    (slope,) = torch.autograd.grad(value.sum(), z)
    assert slope[0].item() == pytest.approx(0, abs=1e-15)
    assert abs(slope[1].item()) > 1e-3


def test_hinge_by_hand():
    z = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert hinge(z).tolist() == [2.0, 1.0, 0.5, 0.0, 0.0]


def test_squared_by_hand_in_its_unit():
    z = torch.tensor([-1.0, 0.0, 0.5])
    assert squared()(z).tolist() == [1.0, 0.0, 0.25]
    assert squared(unit=0.5)(z).tolist() == [4.0, 0.0, 1.0]


@pytest.mark.parametrize("bad", [0.0, 0.5, -0.1, 1.0, math.nan])
def test_smoothing_outside_its_domain_is_refused(bad):
    with pytest.raises(BadConfig, match="label_smoothing must be"):
        smoothed_logistic(bad)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_unit_outside_its_domain_is_refused(bad):
    with pytest.raises(BadConfig, match="unit must be"):
        squared(unit=bad)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.49])
@given(z=st.floats(-50, 50))
def test_debiased_logistic_is_clean_in_the_mean_of_flipped_labels(rate, z):
    x = torch.tensor(z, dtype=torch.float64)
    loss = debiased_logistic(rate)
    mean = (1 - rate) * loss(x) + rate * loss(-x)
    assert mean.item() == pytest.approx(logistic(x).item(), rel=1e-9, abs=1e-9)


def test_debiased_logistic_falls_without_end():
    far = torch.tensor([100.0, 200.0], dtype=torch.float64)
    fall = debiased_logistic(0.3)(far).diff().item() / 100
    assert fall == pytest.approx(-0.3 / 0.4, rel=1e-9)


@given(z=st.floats(-30, 30), tau=st.floats(0.02, 0.9))
def test_discopop_by_hand(z, tau):
    m = 1 / (1 + math.exp(-z / tau)) if z / tau > -700 else 0.0
    want = (1 - m) * math.log1p(math.exp(-z)) + m * math.exp(-z)
    got = discopop_loss(tau)(torch.tensor(z, dtype=torch.float64)).item()
    assert got == pytest.approx(want, rel=1e-9, abs=1e-14)


def test_discopop_has_the_two_turns_that_its_page_names():
    z = torch.linspace(-0.5, 0.5, 10001, dtype=torch.float64)
    value = discopop_loss(0.05)(z)
    slope = value.diff()
    turns = z[1:-1][(slope[1:] * slope[:-1]) < 0].tolist()
    assert turns == pytest.approx([-0.12, 0.07], abs=0.01)


@pytest.mark.parametrize("smoothing", [1e-3, 0.1, 0.4])
def test_bernoulli_kl_by_hand_and_zero_at_the_log_odds(smoothing):
    z = torch.tensor([-3.0, 0.3, math.log((1 - smoothing) / smoothing)], dtype=torch.float64)
    s = 1 / (1 + torch.exp(-z))
    want = s * torch.log(s / (1 - smoothing)) + (1 - s) * torch.log((1 - s) / smoothing)
    value = bernoulli_kl(smoothing)(z)
    assert_close(value, want, rtol=1e-9, atol=1e-14)
    assert value[2].item() == pytest.approx(0, abs=1e-15)


def test_the_short_ones_by_hand():
    z = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    s = 1 / (1 + torch.exp(-z))
    assert_close(exponential(z), torch.exp(-z))
    assert_close(savage(z), (1 - s) ** 2)
    assert_close(negated_sigmoid(z), -s)
    assert_close(negation(z), -z)
    assert truncated_quadratic(z).tolist() == [9.0, 1.0, 0.25, 0.0]


def test_exponential_goes_on_by_its_tangent():
    z = torch.tensor([-60.0, -61.0, -62.0], dtype=torch.float64)
    at, one, two = exponential(z).tolist()
    assert one - at == pytest.approx(at, rel=1e-12)
    assert two - one == pytest.approx(at, rel=1e-12)


@pytest.mark.parametrize("bad", [0.0, 1.0, -1.0, math.nan])
def test_tau_outside_its_domain_is_refused(bad):
    with pytest.raises(BadConfig, match="tau"):
        discopop_loss(bad)


@pytest.mark.parametrize("make", [debiased_logistic, bernoulli_kl])
@pytest.mark.parametrize("bad", [0.0, 0.5, -0.1, math.nan])
def test_rates_outside_their_domain_are_refused(make, bad):
    with pytest.raises(BadConfig):
        make(bad)
