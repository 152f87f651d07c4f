"""Correlations, their intervals, and accuracy by length."""

import itertools
import math
from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics import accuracy_by_length, bootstrap_mean, correlation, length_bias


@given(seed=st.integers(0, 2**31 - 1), n=st.integers(3, 40))
def test_the_correlation_is_numpys(seed, n):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, n)) + 1e3
    found = correlation(a, b, range(n), draws=2)
    assert found.value == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-9)
    assert correlation(3 * a + 5, -2 * b, range(n), draws=2).value == pytest.approx(-found.value)


@pytest.mark.slow
def test_the_interval_covers_the_truth_of_normal_pairs():
    """95 % of 240 samples of 60; the bars are three binomial standard errors around 12 misses."""
    generator, truth, missed = np.random.default_rng(0), 0.5, 0
    for seed in range(240):
        a, e = generator.normal(size=(2, 60))
        b = truth * a + math.sqrt(1 - truth**2) * e
        found = correlation(a, b, range(60), draws=400, seed=seed)
        missed += not found.low < truth < found.high
    assert 2 <= missed <= 22


def test_copies_under_one_prompt_tell_nothing_new():
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 30))
    one = correlation(a, b, range(30))
    copied = correlation(np.tile(a, 5), np.tile(b, 5), list(range(30)) * 5)
    apart = correlation(np.tile(a, 5), np.tile(b, 5), range(150))
    assert copied.value == pytest.approx(one.value)
    assert (copied.low, copied.high) == pytest.approx((one.low, one.high))
    assert apart.high - apart.low < 0.6 * (one.high - one.low)


def test_the_interval_is_of_the_correlations_of_redrawn_groups():
    """Numpy's correlation of the rows of each redraw, from the same generator."""
    generator = np.random.default_rng(4)
    a, b = generator.normal(size=(2, 12))
    groups = np.repeat(np.arange(6), [1, 2, 3, 1, 2, 3])
    again, drawn = np.random.default_rng(9), []
    for _ in range(200):
        rows = np.concatenate([np.nonzero(groups == g)[0] for g in again.integers(0, 6, 6)])
        drawn.append(np.corrcoef(a[rows], b[rows])[0, 1])
    found = correlation(a, b, groups.tolist(), draws=200, seed=9)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_a_constant_side_has_no_correlation():
    found = correlation(np.ones(5), np.arange(5.0), range(5))
    assert np.isnan(found).all()


def test_a_margin_per_token_is_biased_by_length_and_one_of_noise_is_not():
    generator = np.random.default_rng(2)
    chosen, rejected = generator.integers(1, 200, (2, 300))
    noise = generator.normal(size=300)
    biased = length_bias(chosen, rejected, 0.1 * (chosen - rejected) + 5 * noise, range(300))
    honest = length_bias(chosen, rejected, noise, range(300))
    assert biased.low > 0.7
    assert honest.low < 0 < honest.high


def test_bins_hold_all_pairs_once_and_their_own_means_and_intervals():
    generator = np.random.default_rng(3)
    length = generator.integers(1, 30, 200)
    won = generator.choice([0.0, 0.5, 1.0], 200)
    groups = [f"prompt {i // 3}" for i in range(200)]
    found = accuracy_by_length(won, length, groups, bins=5, draws=300)
    assert len(found) == 5
    assert sum(x.pairs for x in found) == 200
    assert all(a.longest < b.shortest for a, b in itertools.pairwise(found))
    for x in found:
        here = (length >= x.shortest) & (length <= x.longest)
        assert x.pairs == here.sum()
        assert 20 <= x.pairs <= 60
        assert x.accuracy == pytest.approx(won[here].mean())
        own = bootstrap_mean(
            won[here], [g for g, h in zip(groups, here, strict=True) if h], draws=300
        )
        assert (x.low, x.high) == own


def test_pairs_of_one_length_stay_together():
    found = accuracy_by_length(np.ones(6), np.array([5, 5, 5, 5, 5, 9]), range(6), bins=4)
    assert [(x.shortest, x.longest, x.pairs) for x in found] == [(5, 5, 5), (9, 9, 1)]
    (alone,) = accuracy_by_length(np.ones(6), np.full(6, 5), range(6), bins=4)
    assert alone.pairs == 6


def test_what_cannot_be():
    two = np.ones(2)
    with pytest.raises(BadData, match="at least two units"):
        correlation(np.ones(1), np.ones(1), [0])
    with pytest.raises(BadData, match="got 2, 2 and 1"):
        correlation(two, two, [0])
    with pytest.raises(BadData, match="finite values"):
        correlation(two, np.array([1.0, np.nan]), [0, 1])
    with pytest.raises(BadData, match="1 chosen and 2 rejected lengths"):
        unwrap(length_bias)(np.ones(1), two, two, [0, 1])
    with pytest.raises(BadData, match="got 2, 1 and 2"):
        unwrap(accuracy_by_length)(two, np.ones(1), [0, 1])
    with pytest.raises(BadConfig, match="bins must be"):
        accuracy_by_length(two, two, [0, 1], bins=0)
