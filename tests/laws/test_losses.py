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
from collimate.losses import Loss, hinge, logistic, smoothed_logistic, squared

ALL = [loss for loss in vars(losses).values() if isinstance(loss, Loss)]
ALL += [squared(), squared(unit=0.05), smoothed_logistic(0.1), smoothed_logistic(0.45)]

every = pytest.mark.parametrize("loss", ALL, ids=attrgetter("name"))
numbers = st.floats(-200, 200)


@every
@given(x=numbers, y=numbers, weight=st.floats(0, 1))
def test_convex(loss, x, y, weight):
    z = torch.tensor([x, y, weight * x + (1 - weight) * y], dtype=torch.float64)
    at_x, at_y, between = loss(z).tolist()
    chord = weight * at_x + (1 - weight) * at_y
    assert between <= chord + 1e-12 * (abs(at_x) + abs(at_y))


@every
def test_non_negative_and_punishes_a_missed_margin(loss):
    z = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    assert (loss(z) >= 0).all()
    assert (loss(z[z < -1]).diff() < 0).all()


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
