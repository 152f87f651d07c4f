"""Rewards as forecasts: both orders of a pair restore the class that labelled pairs lack."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadData
from collimate.diagnostics.calibration import (
    calibrated_calibration_error,
    calibration_error_interval,
    expected_calibration_error,
    fit_temperature,
    preference_forecasts,
    ranking_of_correct,
    reliability,
)

SEEDS = st.integers(0, 2**31 - 1)


def judged(seed, pairs=2000, scale=1.0):
    """(chosen, rejected) rewards of Bradley-Terry pairs, all rewards multiplied by `scale`."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.randn(pairs, 2, dtype=torch.float64, generator=generator)
    first = (
        torch.rand(pairs, dtype=torch.float64, generator=generator) < (r[:, 0] - r[:, 1]).sigmoid()
    )
    r = torch.where(first[:, None], r, r.flip(1)) * scale
    return r[:, 0], r[:, 1]


@given(seed=SEEDS, bins=st.sampled_from([2, 4, 10]))
def test_the_error_is_that_of_the_favoured_answer(seed, bins):
    chosen, rejected = judged(seed, pairs=100)
    forecasts = preference_forecasts(chosen, rejected)
    both = expected_calibration_error(forecasts.probability, forecasts.outcome, bins=bins)
    favoured = (chosen - rejected).abs().sigmoid()
    assert both == pytest.approx(
        expected_calibration_error(favoured, chosen > rejected, bins=bins), abs=1e-12
    )


@given(seed=SEEDS)
def test_the_diagram_is_symmetric_and_both_classes_are_there(seed):
    forecasts = preference_forecasts(*judged(seed, pairs=100))
    assert forecasts.outcome.double().mean() == 0.5
    points = reliability(forecasts.probability, forecasts.outcome)
    assert torch.allclose(points.probability, 1 - points.probability.flip(0))
    assert torch.allclose(points.frequency, 1 - points.frequency.flip(0))


def test_true_rewards_are_calibrated_and_larger_ones_are_not_though_they_seem_so_in_one_order():
    """One order says 1 - p: it calls the overconfident rewards the better calibrated ones."""
    one_order, both = {}, {}
    for scale in (1.0, 3.0):
        chosen, rejected = judged(0, scale=scale)
        p = (chosen - rejected).sigmoid()
        one_order[scale] = expected_calibration_error(p, torch.ones(len(p), dtype=torch.bool))
        forecasts = preference_forecasts(chosen, rejected)
        both[scale] = expected_calibration_error(forecasts.probability, forecasts.outcome)
        one_pair_once = calibrated_calibration_error(forecasts.probability[:2000])[1]
        assert (both[scale] > one_pair_once) == (scale == 3.0)
    assert one_order[3.0] < one_order[1.0]


def test_the_scale_of_rewards_is_found_from_the_pairs():
    chosen, rejected = judged(0, pairs=20_000, scale=3.0)
    gap = chosen - rejected
    logits = torch.stack([gap, torch.zeros_like(gap)], 1)
    found = fit_temperature(logits, torch.zeros(len(gap), dtype=torch.long))
    assert found.value == pytest.approx(3.0, rel=0.06)


def test_the_two_forecasts_of_a_pair_are_one_observation():
    chosen, rejected = judged(1, pairs=300, scale=2.0)
    forecasts = preference_forecasts(chosen, rejected)
    low, high = calibration_error_interval(
        forecasts.probability, forecasts.outcome, forecasts.pair.tolist()
    )
    favoured = (chosen - rejected).abs().sigmoid()
    alone = calibration_error_interval(favoured, chosen > rejected, range(300))
    assert (low, high) == pytest.approx(alone, rel=1e-9)


def test_a_tie_is_a_forecast_of_one_half_that_is_right():
    forecasts = preference_forecasts(torch.zeros(3), torch.zeros(3))
    assert expected_calibration_error(forecasts.probability, forecasts.outcome) == 0
    assert ranking_of_correct(forecasts.probability, forecasts.outcome) == 0.5


def test_infinite_rewards_are_refused():
    with pytest.raises(BadData, match="finite numbers"):
        preference_forecasts(torch.tensor([float("inf")]), torch.tensor([0.0]))
