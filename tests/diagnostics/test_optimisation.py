"""Opposing signals, sharpness, plasticity and learning-rate sensitivity, against their definitions."""

import math
from inspect import unwrap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics import (
    active_fraction,
    antiphase,
    dormant_fraction,
    lr_sensitivity,
    opposing_signals,
    sharpness,
)


@given(
    change=st.lists(st.integers(-5, 5), min_size=1, max_size=20),
    top=st.integers(1, 6),
)
def test_the_extremes_are_the_largest_of_each_sign(change, top):
    values = torch.tensor(change, dtype=torch.float64)
    found = opposing_signals(torch.ones_like(values), values + 1, top=top)
    assert found.change.tolist() == change
    up, down = (sorted((s * x for x in change if s * x > 0), reverse=True)[:top] for s in (1, -1))
    assert [change[i] for i in found.risen.tolist()] == up
    assert [-change[i] for i in found.fallen.tolist()] == down
    assert len(set(found.risen.tolist()) | set(found.fallen.tolist())) == len(up) + len(down)


def test_groups_that_take_turns_and_groups_that_are_learnt_together():
    t = torch.arange(20.0)
    swing = torch.cos(math.pi * t)
    assert antiphase(5 - t + swing, 5 - t - swing).item() == pytest.approx(-1)
    assert antiphase((-t).exp(), 3 * (-t).exp()).item() == pytest.approx(1)
    assert antiphase(t, -2 * t).isnan()  # an even pace has no phase
    a, b = torch.randn(2, 9, dtype=torch.float64)
    expected = np.corrcoef(np.diff(a.numpy()), np.diff(b.numpy()))[0, 1]
    assert antiphase(a, b).item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_sharpness_is_the_largest_eigenvalue_of_the_whole_hessian(seed):
    """Of a two-layer net of 23 parameters, indefinite; to 1e-3, and within its own residual."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True)
        for s in ((4, 4), (7,))
    )
    x = torch.randn(10, 4, dtype=torch.float64, generator=generator)
    y = torch.randn(10, dtype=torch.float64, generator=generator)

    def loss_of(theta):
        a, b = theta[:16].view(4, 4), theta[16:]
        return ((torch.tanh(x @ a) @ b[:4]) + b[4:].prod() - y).square().mean()

    theta = torch.cat([first.flatten(), second]).detach()
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss_of, theta))
    found = sharpness(
        lambda: loss_of(torch.cat([first.flatten(), second])), [first, second], steps=2000
    )
    assert found.value == pytest.approx(exact[-1].item(), rel=1e-3)
    assert (exact - found.value).abs().min() <= found.residual + 1e-9
    assert first.grad is None


@pytest.mark.parametrize(("top", "bottom"), [(4.0, -6.0), (6.0, -4.0), (-1.0, -8.0), (3.0, 0.0)])
def test_a_larger_negative_eigenvalue_does_not_hide_the_top_one(top, bottom):
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    found = sharpness(lambda: (top * theta[0] ** 2 + bottom * theta[1] ** 2) / 2, [theta])
    assert found.value == pytest.approx(top, rel=1e-3)


def test_a_loss_without_curvature_and_parameters_without_part():
    theta, unused = (torch.ones(3, requires_grad=True) for _ in range(2))
    assert sharpness(lambda: theta.sum(), [theta, unused]).value == 0
    assert sharpness(lambda: 3 * theta.square().sum(), [theta, unused]).value == pytest.approx(6)
    with torch.no_grad():
        assert sharpness(lambda: theta.square().sum(), [theta]).value == pytest.approx(2)


def test_descent_is_stable_below_two_over_sharpness_and_not_above():
    """The meaning of 2/eta, on a quadratic."""
    scales = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)

    def run(eta):
        theta = torch.ones(3, dtype=torch.float64, requires_grad=True)

        def loss():
            return (scales * theta.square()).sum() / 2

        top = sharpness(loss, [theta]).value
        for _ in range(200):
            (slope,) = torch.autograd.grad(loss(), theta)
            theta.data -= eta / top * slope
        return loss().item()

    assert run(1.95) < 1e-3
    assert run(2.05) > 1e3


def test_units_that_answer():
    table = torch.tensor([[[0.0, 2.0, -1.0], [1.0, 4.0, 0.0]]])
    assert active_fraction(table) == pytest.approx(3 / 6)
    assert dormant_fraction(table.relu()) == pytest.approx(1 / 3)
    assert dormant_fraction(table.relu(), threshold=0.5) == pytest.approx(
        2 / 3
    )  # 0.5 of a mean 3.5/3
    assert dormant_fraction(torch.zeros(4, 3)) == 1
    assert active_fraction(torch.zeros(4, 3)) == 0


@given(seed=st.integers(0, 2**31 - 1), scale=st.floats(0.01, 100))
def test_the_scale_of_a_layer_is_no_plasticity(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(20, 6, generator=generator).relu().double()
    assert active_fraction(scale * table) == active_fraction(table)
    found = dormant_fraction(scale * table, threshold=0.7)
    assert found == pytest.approx(dormant_fraction(table, threshold=0.7))


@given(seed=st.integers(0, 2**31 - 1))
def test_sensitivity_is_the_mean_excess_over_log_rates(seed):
    """Against a fine midpoint sum of the interpolated curve, over all and over part of the sweep."""
    generator = np.random.default_rng(seed)
    rates = np.sort(10 ** generator.uniform(-4, -1, 6))
    losses = generator.uniform(1, 6, 6)
    sweep = dict(zip(rates.tolist(), losses.tolist(), strict=True))
    capped = np.minimum(losses, 4.0)
    for low, high in ((None, None), (float(rates[0] * 1.01), float(rates[-1] * 0.99))):
        ends = np.log([low or rates[0], high or rates[-1]])
        edges = np.linspace(*ends, 200_001)
        middle = (edges[1:] + edges[:-1]) / 2
        expected = np.interp(middle, np.log(rates), capped).mean() - capped.min()
        found = lr_sensitivity(sweep, 4.0, low=low, high=high)
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_run_that_diverged_counts_as_the_start():
    for lost in (math.nan, math.inf, 1e9):
        assert lr_sensitivity({1e-3: 1.0, 1e-2: lost}, 5.0) == pytest.approx(2.0)
    assert lr_sensitivity({1e-3: 1.0, 1e-2: 1.0, 1e-1: 1.0}, 5.0) == 0
    assert lr_sensitivity({1e-3: math.nan, 1e-2: math.nan}, 5.0) == 0  # none learns: see L* too


THETA = torch.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: opposing_signals(torch.ones(0), torch.ones(0)), BadData, "loss_before is empty"),
        (lambda: opposing_signals(torch.ones(1), THETA * math.nan), BadData, "loss_after must be f"),
        (lambda: opposing_signals(THETA, THETA, top=0), BadConfig, "top must be"),
        (lambda: antiphase(torch.ones(2), torch.ones(2)), BadData, "three moments, got 2"),
        (lambda: unwrap(antiphase)(torch.ones(3), torch.ones(4)), BadData, "second must have shape"),
        (lambda: sharpness(lambda: THETA.sum(), []), BadData, "at least one parameter"),
        (lambda: sharpness(lambda: THETA, [THETA]), BadData, r"must be a scalar .*got \[1\]"),
        (lambda: sharpness(lambda: torch.ones(()), [THETA]), BadData, "must be a scalar that dep"),
        (lambda: sharpness(lambda: THETA.sum(), [THETA], steps=0), BadConfig, "steps must be"),
        (
            lambda: sharpness(lambda: (THETA - 1).pow(1.5).sum(), [THETA]),
            BadData,
            "no second derivative",
        ),
        (lambda: active_fraction(torch.ones(0, 2)), BadData, "activations is empty"),
        (lambda: dormant_fraction(torch.ones(2, 2) * math.nan), BadData, "must be finite"),
        (lambda: dormant_fraction(torch.ones(2, 2), threshold=-1.0), BadConfig, "threshold must"),
        (lambda: lr_sensitivity({0.1: 1.0}, 2.0), BadData, "at least two learning rates"),
        (lambda: lr_sensitivity({0.1: 1.0, 0.0: 1.0}, 2.0), BadConfig, "eta must be finite and above"),
        (lambda: lr_sensitivity({0.1: 1.0, 0.2: 1.0}, math.nan), BadData, "initial loss must be"),
        (lambda: lr_sensitivity({0.1: 1.0, 0.2: 1.0}, 2.0, low=0.01), BadConfig, "within the sweep"),
    ],
    ids=[
        "no pair", "nan", "top", "moments", "shape", "no parameter", "vector", "constant", "steps",
        "kink", "no unit", "activation", "threshold", "one rate", "zero rate", "initial", "range",
    ],
)  # fmt: skip
def test_what_cannot_be(call, error, message):
    with pytest.raises(error, match=message):
        call()
