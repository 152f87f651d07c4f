"""OPIS and the shared threshold, against naive counts and a fine grid."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.thresholds import (
    f1,
    opis,
    sensitivity_specificity,
    shared_threshold,
    threshold_at_false_match_rate,
    utility_curves,
)

SEEDS = st.integers(0, 2**31 - 1)
UTILITIES = pytest.mark.parametrize("utility", [f1, sensitivity_specificity])


def table(seed, classes=3, pairs=60, places=10):
    """Distances on a grid of tenths: ties within and between classes."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(pairs) % classes
    match = torch.arange(pairs) // classes % 2 == 0
    distance = torch.randint(1, places, (pairs,), generator=generator).double() / places
    return distance, match, owner


def naive_utility(rows, d, name):
    """From the counts of one class's (distance, match) rows."""
    tp = sum(x <= d and same for x, same in rows)
    fp = sum(x <= d and not same for x, same in rows)
    fn = sum(x > d and same for x, same in rows)
    tn = sum(x > d and not same for x, same in rows)
    a, b = (tp / (tp + fn), tn / (tn + fp))
    if name == "f1":
        a, b = (tp / (tp + fp) if tp + fp else 0.0, tp / (tp + fn))
    return 2 * a * b / (a + b) if a + b else 0.0


def of_class(arrays, c):
    distance, match, owner = arrays
    return [(float(d), bool(m)) for d, m, o in zip(distance, match, owner, strict=True) if o == c]


@UTILITIES
@settings(max_examples=15)
@given(seed=SEEDS)
def test_curves_are_the_utility_at_every_threshold(utility, seed):
    arrays = table(seed)
    d = torch.linspace(0, 1, 41, dtype=torch.float64)
    found = utility_curves(*arrays, utility=utility).at(d)
    for c in range(3):
        naive = [naive_utility(of_class(arrays, c), float(x), utility.__name__) for x in d]
        assert found[c].tolist() == pytest.approx(naive, abs=1e-12)


@UTILITIES
@given(seed=SEEDS, low=st.floats(0.0, 0.4), length=st.floats(0.01, 0.6))
def test_the_integral_is_exact_between_the_steps(utility, seed, low, length):
    """Naive: every interval between two neighbouring distances has one value, that of its middle."""
    arrays, high = table(seed), low + length
    ends = sorted({low, high, *(x for x in arrays[0].tolist() if low < x < high)})
    total = np.zeros(3)
    for a, b in pairwise(ends):
        u = [naive_utility(of_class(arrays, c), (a + b) / 2, utility.__name__) for c in range(3)]
        total += (b - a) * (np.array(u) - np.mean(u)) ** 2
    found = opis(utility_curves(*arrays, utility=utility), low, high)
    assert found.numpy() == pytest.approx(total / (high - low), abs=1e-12)


def test_the_trapezoidal_rule_nears_the_exact_integral_with_more_thresholds():
    curves = utility_curves(*table(0))
    exact = opis(curves, 0.05, 0.95)
    errors = [
        float((opis(curves, 0.05, 0.95, trapezoid=n) - exact).abs().max()) for n in (31, 30001)
    ]
    assert errors[1] < 1e-4 < errors[0]


@given(seed=SEEDS)
def test_classes_that_are_alike_have_no_inconsistency_and_any_scale_of_distance_has_the_same(seed):
    distance, match, owner = table(seed)
    alike = utility_curves(distance.repeat(2), match.repeat(2), torch.arange(120) // 60)
    assert float(opis(alike, 0.0, 1.0).max()) < 1e-30
    one = opis(utility_curves(distance, match, owner), 0.1, 0.9)
    other = opis(utility_curves(7 * distance + 3, match, owner), 3.7, 9.3)
    assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)
    assert 0 <= one.mean() <= 0.25


def test_a_shift_between_classes_is_found_and_priced():
    """Both classes are separable, at thresholds 0.3 and 0.6 that no one threshold serves."""
    distance = torch.tensor([0.1, 0.5, 0.45, 0.9]).double()
    match, owner = torch.tensor([True, False, True, False]), torch.tensor([0, 0, 1, 1])
    shifted = utility_curves(distance + torch.tensor([0, 0, 0.2, 0.2]).double(), match, owner)
    best = shared_threshold(shifted, 0.0, 1.0)
    assert best.own.tolist() == [1, 1]
    assert best.price == 0.5  # one class at 1, the other at 0
    assert shared_threshold(utility_curves(distance, match, owner), 0.0, 1.0).price == 0
    # apart on [0.1, 0.5), where one class is served, and on [0.65, 1): 0.25·(0.4 + 0.35)
    assert opis(shifted, 0.0, 1.0).tolist() == pytest.approx([0.1875, 0.1875])


@given(seed=SEEDS)
def test_the_shared_threshold_is_the_best_of_a_fine_grid(seed):
    curves = utility_curves(*table(seed))
    best = shared_threshold(curves, 0.0, 1.0)
    grid = curves.at(torch.linspace(0, 0.999, 1000, dtype=torch.float64))
    assert float(best.utility.mean()) == pytest.approx(float(grid.mean(0).max()), abs=1e-12)
    assert curves.at(torch.tensor([best.threshold], dtype=torch.float64))[:, 0].equal(best.utility)
    assert best.own.tolist() == pytest.approx(grid.amax(1).tolist(), abs=1e-12)
    assert best.price >= -1e-15


def test_a_range_from_false_match_rates():
    distance = torch.arange(1, 101).double()
    match = torch.zeros(100, dtype=torch.bool)
    for rate in (0.01, 0.1, 0.105, 1.0):
        found = threshold_at_false_match_rate(distance, match, rate)
        assert (distance <= found).double().mean() >= rate
        assert (distance < found).double().mean() < rate


def test_what_has_no_utility_is_refused():
    distance, match, owner = table(0)
    with pytest.raises(BadData, match="each class"):
        utility_curves(distance, match | (owner == 1), owner)
    with pytest.raises(BadData, match="each class"):
        utility_curves(distance, match, 2 * owner)
    with pytest.raises(BadData, match="finite"):
        utility_curves(distance / 0, match, owner)
    curves = utility_curves(distance, match, owner)
    with pytest.raises(BadConfig, match="low < high"):
        opis(curves, 0.5, 0.5)
    with pytest.raises(BadConfig, match="trapezoid"):
        opis(curves, 0.0, 1.0, trapezoid=1)
    with pytest.raises(BadConfig, match="low < high"):
        opis(curves, 1.0, 0.0, trapezoid=5)
    with pytest.raises(BadData, match="do not match"):
        threshold_at_false_match_rate(distance, match | ~match, 0.1)
