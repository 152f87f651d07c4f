"""Gaps of direction and trends with size, against naive sums and normal equations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.probes import (
    directional_gap,
    matched_gap,
    matched_share,
    scaling_trend,
)

SEEDS = st.integers(0, 2**31 - 1)


def matrix(seed, facts=6):
    generator = torch.Generator().manual_seed(seed)
    return -30 * torch.rand(facts, facts, dtype=torch.float64, generator=generator)


@given(seed=SEEDS)
def test_a_gap_is_own_minus_the_mean_of_the_others(seed):
    table = matrix(seed)
    for i, found in enumerate(matched_gap(table).tolist()):
        others = [float(table[i, j]) for j in range(6) if j != i]
        assert found == pytest.approx(float(table[i, i]) - sum(others) / 5)


@given(seed=SEEDS)
def test_priors_of_candidates_do_not_move_the_mean_gap_nor_constants_of_facts_any(seed):
    table = matrix(seed)
    candidate, fact = 100 * matrix(seed + 1)[0], 100 * matrix(seed + 2)[0]
    assert float(matched_gap(table + candidate).mean()) == pytest.approx(
        float(matched_gap(table).mean()), abs=1e-9
    )
    assert torch.allclose(matched_gap(table + fact[:, None]), matched_gap(table), atol=1e-9)


def test_a_share_is_one_over_the_ties():
    table = torch.tensor([[0.0, -1.0, -1.0], [0.0, 0.0, -1.0], [0.0, 0.0, -1.0]]).double()
    assert matched_share(table).tolist() == [1, 0.5, 0]
    assert matched_share(torch.zeros(5, 5).double()).mean() == pytest.approx(0.2)


def test_what_is_learnt_in_one_direction_only_differs_by_the_trained_gap():
    known, unknown = 8 * torch.eye(4), torch.zeros(4, 4)
    found = directional_gap(known, unknown)
    assert found.trained.tolist() == [8, 8, 8, 8]
    assert found.difference.equal(found.trained)
    assert directional_gap(known, known).difference.abs().sum() == 0


def test_matrices_that_name_no_own_candidate_are_refused():
    for table in (torch.zeros(1, 1), torch.zeros(2, 3), torch.full((2, 2), -math.inf)):
        with pytest.raises(BadData, match="square matrix"):
            matched_gap(table)


def naive_fit(x, y, error, degree):
    """(last coefficient, its standard error) by the normal equations of weighted least squares."""
    design = np.array([[t**k for k in range(degree + 1)] for t in x])
    weight = np.diag(1 / np.square(error))
    inverse = np.linalg.inv(design.T @ weight @ design)
    return (inverse @ design.T @ weight @ y)[-1], math.sqrt(inverse[-1, -1])


@given(seed=SEEDS)
def test_slope_and_curvature_are_those_of_weighted_least_squares(seed):
    generator = np.random.default_rng(seed)
    size = np.exp(generator.uniform(0, 5, 7))
    metric, error = generator.normal(size=7), generator.uniform(0.1, 1, 7)
    found = scaling_trend(size, metric, error)
    x = np.log(size)
    slope, slope_error = naive_fit(x, metric, error, 1)
    bend, bend_error = naive_fit(x, metric, error, 2)
    assert found.slope == pytest.approx(slope, rel=1e-6, abs=1e-9)
    assert found.slope_z == pytest.approx(slope / slope_error, rel=1e-6, abs=1e-8)
    assert found.curvature == pytest.approx(bend, rel=1e-5, abs=1e-8)
    assert found.curvature_z == pytest.approx(bend / bend_error, rel=1e-5, abs=1e-7)


SIZES = 10.0 ** np.arange(8)
T = np.linspace(-1, 1, 8)
CURVES = {
    "standard": 0.5 + 0.2 * T,
    "inverse": 0.5 - 0.2 * T,
    "u": 0.3 + 0.4 * T**2,
    "inverted_u": 0.7 - 0.4 * T**2,
    "flat": np.full(8, 0.5),
}


@pytest.mark.parametrize("trend", sorted(CURVES))
@pytest.mark.parametrize("known", [True, False], ids=["errors known", "errors estimated"])
def test_clear_curves_get_their_name(trend, known):
    ripple = 0.001 * np.array([1, -1, -1, 1, 1, -1, -1, 1])  # orthogonal to line and parabola
    error = np.full(8, 0.02) if known else None
    found = scaling_trend(SIZES, CURVES[trend] + ripple, error)
    assert found.trend == trend
    if trend in ("u", "inverted_u"):
        assert found.vertex == pytest.approx(10**3.5, rel=0.1)


@pytest.mark.parametrize(
    ("trend", "turned"),
    [("standard", "inverse"), ("u", "inverted_u"), ("inverted_u", "u"), ("flat", "flat")],
)
def test_of_a_loss_the_names_are_turned_and_the_numbers_are_not(trend, turned):
    error = np.full(8, 0.02)
    up = scaling_trend(SIZES, CURVES[trend], error)
    down = scaling_trend(SIZES, CURVES[trend], error, larger_is_better=False)
    assert down.trend == turned
    assert (down.slope, down.curvature) == pytest.approx((up.slope, up.curvature))
    assert down.vertex == pytest.approx(up.vertex)


def test_a_bend_whose_turn_lies_beyond_the_sizes_is_a_trend():
    found = scaling_trend(SIZES, 1 - 0.1 * (T - 1.2) ** 2, np.full(8, 0.005))
    assert abs(found.curvature_z) > 2
    assert found.vertex > SIZES[-1]
    assert found.trend == "standard"


def test_the_unit_of_size_does_not_matter():
    error = np.full(8, 0.02)
    a, b = (scaling_trend(unit * SIZES, CURVES["u"], error) for unit in (1.0, 1e6))
    assert (a.slope_z, a.curvature_z) == pytest.approx((b.slope_z, b.curvature_z), abs=1e-9)
    assert b.vertex == pytest.approx(1e6 * a.vertex)


def test_a_perfect_fit_without_errors_has_no_doubt():
    """Metrics on a straight line: z of the slope is beyond any threshold, not NaN."""
    found = scaling_trend(np.exp(np.arange(6.0)), np.arange(6.0))
    assert found.trend == "standard"
    assert found.slope_z > 1e6


def test_what_has_no_trend_is_refused():
    three = np.array([1.0, 2.0, 3.0])
    with pytest.raises(BadData, match="at least 4 different sizes"):
        scaling_trend(three, three)
    with pytest.raises(BadData, match="at least 3 different sizes"):
        scaling_trend(np.array([1.0, 2.0, 2.0]), three, three)
    with pytest.raises(BadData, match="above 0"):
        scaling_trend(three - 1, three, three)
    with pytest.raises(BadData, match="above 0"):
        scaling_trend(three, three, 0 * three)
    with pytest.raises(BadConfig, match="threshold"):
        scaling_trend(three, three, three, threshold=0.0)
