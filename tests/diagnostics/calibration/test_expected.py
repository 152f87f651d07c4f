"""Bins, calibration error and the parts of the Brier score against naive loops, and their laws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.calibration import (
    brier_decomposition,
    brier_score,
    calibrated_calibration_error,
    calibration_error_interval,
    expected_calibration_error,
    ranking_of_correct,
    reliability,
)

FORECASTS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda k: k / 20) | st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=40,
)
KINDS = pytest.mark.parametrize("equal", ["width", "mass"])


def arrays(rows):
    p, came_true = zip(*rows, strict=True)
    return torch.tensor(p, dtype=torch.float64), torch.tensor(came_true)


def naive_bins(rows, bins, equal):
    """The rows of each bin that holds any."""
    table = {}
    for p, came_true in rows:
        if equal == "width":
            index = max(k for k in range(bins) if k / bins <= p)
        else:
            below = sum(other < p for other, _ in rows)
            alike = sum(other == p for other, _ in rows)
            index = int((2 * below + alike - 1) * bins // (2 * len(rows)))  # mean rank·bins/n
        table.setdefault(index, []).append((p, came_true))
    return [table[index] for index in sorted(table)]


@KINDS
@given(rows=FORECASTS, bins=st.integers(1, 12))
def test_diagram_and_error_are_the_naive_ones(equal, rows, bins):
    p, came_true = arrays(rows)
    points = reliability(p, came_true, bins=bins, equal=equal)
    error = 0.0
    for i, held in enumerate(naive_bins(rows, bins, equal)):
        stated = math.fsum(x for x, _ in held) / len(held)
        observed = sum(y for _, y in held) / len(held)
        assert points.count[i] == len(held)
        assert float(points.probability[i]) == pytest.approx(stated, abs=1e-12)
        assert float(points.frequency[i]) == pytest.approx(observed, abs=1e-12)
        error += len(held) / len(rows) * abs(observed - stated)
    assert points.count.sum() == len(rows)
    found = expected_calibration_error(p, came_true, bins=bins, equal=equal)
    assert found == pytest.approx(error, abs=1e-12)


@KINDS
@given(rows=FORECASTS, bins=st.integers(1, 12))
def test_murphys_parts_and_the_part_within_bins_add_up(equal, rows, bins):
    p, came_true = arrays(rows)
    parts = brier_decomposition(p, came_true, bins=bins, equal=equal)
    score = sum((x - y) ** 2 for x, y in rows) / len(rows)
    assert parts.score == pytest.approx(score, abs=1e-12)
    whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bins
    assert whole == pytest.approx(score, abs=1e-12)
    base = sum(y for _, y in rows) / len(rows)
    held = naive_bins(rows, bins, equal)
    seen = [sum(y for _, y in part) / len(part) for part in held]
    resolution = sum(len(a) * (b - base) ** 2 for a, b in zip(held, seen, strict=True)) / len(rows)
    assert parts.resolution == pytest.approx(resolution, abs=1e-12)
    assert parts.uncertainty == pytest.approx(base * (1 - base), abs=1e-12)


def test_with_one_value_per_bin_nothing_is_left_within_bins():
    p = torch.tensor([0.1, 0.1, 0.5, 0.5, 0.9, 0.9])
    came_true = torch.tensor([False, True, True, False, True, True])
    assert brier_decomposition(p, came_true).within_bins == pytest.approx(0, abs=1e-16)


@given(rows=FORECASTS, bins=st.integers(1, 12))
def test_equal_mass_does_not_depend_on_the_order_of_rows(rows, bins):
    turned = [rows[i] for i in sorted(range(len(rows)), key=lambda i: (i * 7919) % 101)]
    errors = [
        expected_calibration_error(*arrays(r), bins=bins, equal="mass") for r in (rows, turned)
    ]
    assert errors[0] == pytest.approx(errors[1], abs=1e-12)


def test_equal_mass_bins_of_distinct_forecasts_differ_by_one():
    p = torch.linspace(0, 0.1, 23)
    points = reliability(p, p > 1, bins=5, equal="mass")
    assert sorted(points.count.tolist()) == [4, 4, 5, 5, 5]


def test_forecasts_on_an_edge_belong_above_it():
    p = torch.arange(10, dtype=torch.float64) / 10  # 0.29·100 is below 29: edges are divisions
    assert reliability(p, p > 1, bins=10).count.tolist() == [1] * 10
    hundredths = torch.arange(100, dtype=torch.float64) / 100
    assert reliability(hundredths, hundredths > 1, bins=100).count.tolist() == [1] * 100


def test_a_constant_forecast_of_the_base_rate_has_no_error_and_no_use():
    came_true = torch.arange(100) % 4 > 0
    p = torch.full((100,), 0.75)
    assert expected_calibration_error(p, came_true) == 0
    assert ranking_of_correct(p, came_true) == 0.5
    assert brier_decomposition(p, came_true).resolution == 0


def calibrated(seed, rows=300):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(rows, dtype=torch.float64, generator=generator)
    return p, torch.rand(rows, dtype=torch.float64, generator=generator) < p


@KINDS
def test_calibrated_forecasts_are_called_so_nineteen_times_of_twenty(equal):
    """Over 400 data sets; the bar is three binomial standard errors."""
    p, _ = calibrated(0)
    mean, high = calibrated_calibration_error(p, equal=equal, draws=4000)
    generator = torch.Generator().manual_seed(1)
    errors = []
    for _ in range(400):
        came_true = torch.rand(300, dtype=torch.float64, generator=generator) < p
        errors.append(expected_calibration_error(p, came_true, equal=equal))
    alarms = sum(error > high for error in errors)
    assert abs(alarms - 20) < 3 * math.sqrt(400 * 0.05 * 0.95)
    assert sum(errors) / 400 == pytest.approx(mean, rel=0.05)
    assert mean > 0.02  # the upward bias: the true error is 0


def test_the_interval_is_of_the_binned_error_and_carries_its_bias_twice():
    """Measured on calibrated forecasts: the interval's lower end is above 0 in all of 50 data sets."""
    lows, inside = [], 0
    for seed in range(50):
        p, came_true = calibrated(seed)
        low, high = calibration_error_interval(p, came_true, range(300), draws=200)
        lows.append(low)
        inside += low <= expected_calibration_error(p, came_true) <= high
    assert min(lows) > 0
    assert inside >= 35


def test_the_interval_covers_the_error_of_forecasts_that_are_far_off():
    """p = 0.9 of events that come true half of the time: the error is 0.4, without bias.

    The interval depends on the number of events alone, so its coverage is a binomial sum.
    """
    p, coverage = torch.full((200,), 0.9), 0.0
    for count in range(70, 131):
        came_true = torch.arange(200) < count
        low, high = calibration_error_interval(p, came_true, range(200), draws=400, seed=count)
        coverage += math.comb(200, count) / 2**200 * (low <= 0.4 <= high)
    assert coverage == pytest.approx(0.95, abs=0.015)


def test_copies_of_a_row_under_one_prompt_tell_nothing_new():
    p, came_true = calibrated(3)
    single = calibration_error_interval(p, came_true, range(300))
    copies = calibration_error_interval(p.repeat(4), came_true.repeat(4), list(range(300)) * 4)
    assert copies == pytest.approx(single, rel=1e-9)


@given(rows=FORECASTS)
def test_ranking_is_the_share_of_couples(rows):
    p, right = arrays(rows)
    if right.all() or not right.any():
        with pytest.raises(BadData, match="right and wrong"):
            ranking_of_correct(p, right)
    else:
        couples = [(a, b) for a, x in rows if x for b, y in rows if not y]
        share = sum((a > b) + (a == b) / 2 for a, b in couples) / len(couples)
        assert ranking_of_correct(p, right) == pytest.approx(share, abs=1e-12)


def test_the_brier_score_of_two_classes_is_twice_the_binary_one():
    gap = torch.linspace(-3, 3, 7, dtype=torch.float64)
    logits = torch.stack([gap, torch.zeros_like(gap)], 1)
    label = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    binary = (gap.sigmoid() - (label == 0).double()).square()
    assert torch.allclose(brier_score(logits, label), 2 * binary)


@pytest.mark.parametrize("p", [[1.5], [-0.1], [float("nan")]], ids=["above", "below", "nan"])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(BadData, match="probabilities in"):
        reliability(torch.tensor(p), torch.tensor([True]))


def test_no_bin_and_no_row_are_refused():
    with pytest.raises(BadConfig, match="bins must be at least 1"):
        reliability(torch.tensor([0.5]), torch.tensor([True]), bins=0)
    with pytest.raises(BadData, match="at least one row"):
        reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
