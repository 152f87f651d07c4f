"""Non-dominated sets, hypervolumes and fronts with intervals, against brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.tradeoffs import front, hypervolume, pareto_set


@st.composite
def grids(draw, most=12, objectives=4):
    """Points with few values: ties and duplicates everywhere; and a direction for each objective."""
    n = draw(st.integers(1, objectives))
    row = st.lists(st.integers(0, 3).map(float), min_size=n, max_size=n)
    points = np.array(draw(st.lists(row, min_size=1, max_size=most)))
    return points, draw(st.lists(st.sampled_from(["max", "min"]), min_size=n, max_size=n))


def better(a, b, way):
    return a > b if way == "max" else a < b


def dominates(a, b, ways):
    each = [(better(x, y, way), better(y, x, way)) for x, y, way in zip(a, b, ways, strict=True)]
    return any(up for up, _ in each) and not any(down for _, down in each)


@given(case=grids())
def test_the_set_is_what_comparing_all_couples_leaves(case):
    points, ways = case
    naive = [not any(dominates(other, own, ways) for other in points) for own in points]
    assert pareto_set(points, ways).tolist() == naive


@given(case=grids())
def test_copies_are_kept_together_and_add_nothing(case):
    points, ways = case
    kept = pareto_set(points, ways)
    assert kept.any()
    assert pareto_set(np.concatenate([points, points]), ways).tolist() == [*kept, *kept]
    for a, b in itertools.combinations(range(len(points)), 2):
        if (points[a] == points[b]).all():
            assert kept[a] == kept[b]


def inclusion_exclusion(extents):
    """Volume of a union of boxes [0, extent] from the volumes of all their intersections."""
    total = 0.0
    for size in range(1, len(extents) + 1):
        for some in itertools.combinations(extents, size):
            total -= (-1) ** size * math.prod(np.min(some, axis=0))
    return total


@given(
    extents=st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(0.1, 2), min_size=n, max_size=n), min_size=1, max_size=6
        )
    )
)
def test_the_volume_is_that_of_inclusion_and_exclusion(extents):
    points = np.array(extents)
    zero = np.zeros(points.shape[1])
    truth = inclusion_exclusion(extents)
    up, down = (["max"] * len(zero), ["min"] * len(zero))
    assert hypervolume(points, zero, up) == pytest.approx(truth, rel=1e-9)
    assert hypervolume(1 - points, zero + 1, down) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("objectives", [2, 3, 4, 5])
def test_the_volume_is_the_share_of_random_points_that_are_dominated(objectives):
    generator = np.random.default_rng(objectives)
    points = generator.random((12, objectives))
    throws = generator.random((40_000, objectives))
    share = (points[:, None] > throws).all(-1).any(0).mean()
    found = hypervolume(points, np.zeros(objectives), ["max"] * objectives)
    assert abs(found - share) < 4 * math.sqrt(found * (1 - found) / 40_000)


@given(case=grids(most=8))
def test_only_the_front_counts_and_more_points_never_lose_volume(case):
    points, ways = case
    reference = np.array([-1.0 if way == "max" else 4.0 for way in ways])
    whole = hypervolume(points, reference, ways)
    assert hypervolume(points[pareto_set(points, ways)], reference, ways) == pytest.approx(whole)
    assert hypervolume(points[:-1], reference, ways) <= whole + 1e-12


def test_points_that_are_worse_than_the_reference_add_nothing():
    points = np.array([[1.0, 1.0], [5.0, -1.0], [0.0, 9.0]])
    assert hypervolume(points, np.zeros(2), ["max", "max"]) == 1
    assert hypervolume(points[1:], np.zeros(2), ["max", "max"]) == 0


@pytest.mark.slow
def test_intervals_cover_and_shrink_with_the_root_of_seeds():
    """Of 32 normal seeds a percentile interval covers where |t| of 31 degrees < 1.96·√(31/32): 0.937."""
    generator = np.random.default_rng(0)
    widths, hits = {8: [], 32: []}, 0
    for seeds in (8, 32):
        for _ in range(20):
            found = front(
                generator.normal(size=(seeds, 40, 1)), ["max"], np.array([-9.0]), draws=300
            )
            widths[seeds].append((found.high - found.low).mean())
            if seeds == 32:
                hits += ((found.low <= 0) & (found.high >= 0)).sum()
    assert np.mean(widths[8]) / np.mean(widths[32]) == pytest.approx(
        2, rel=0.1
    )  # of 20 fronts each
    assert abs(hits / 800 - 0.937) < 3 * math.sqrt(0.937 * 0.063 / 800)


def test_a_dominated_setting_stays_off_the_front_and_the_volume_has_an_interval():
    truth = np.array([[1.0, 0.0], [0.6, 0.6], [0.0, 1.0], [0.2, 0.2]])
    noise = 0.1 * np.random.default_rng(0).normal(size=(8, 4, 2))
    found = front(truth + noise, ["max", "max"], np.full(2, -1.0), draws=200)
    assert found.on_front.tolist() == [True, True, True, False]
    assert found.frequency.tolist() == [1, 1, 1, 0]
    assert found.volume_low < found.volume < found.volume_high
    exact = hypervolume(truth, np.full(2, -1.0), ["max", "max"])
    assert found.volume_low < exact < found.volume_high


def test_settings_on_the_same_seeds_are_compared_in_pairs():
    """The noise is common to both settings: the better one is on the front in every redraw."""
    noise = np.random.default_rng(0).normal(size=(6, 1, 1))
    points = np.array([[0.0], [0.1]]) + noise
    found = front(points, ["max"], np.array([-9.0]), draws=100)
    assert found.frequency.tolist() == [0.0, 1.0]


def test_one_seed_has_no_spread():
    found = front(np.array([[[1.0, 2.0]]]), ["max", "max"], np.zeros(2), draws=10)
    assert (found.volume_low, found.volume, found.volume_high) == (2, 2, 2)


@pytest.mark.parametrize("ways", [["max"], ["max", "max", "max"]], ids=str)
def test_directions_that_do_not_fit_are_refused(ways):
    with pytest.raises(BadConfig, match="directions must name"):
        pareto_set(np.zeros((1, 2)), ways)


def test_points_without_a_place_are_refused():
    both = ["max", "max"]
    with pytest.raises(BadData, match="NaN"):
        pareto_set(np.array([[math.nan, 0.0]]), both)
    with pytest.raises(BadData, match="at infinity"):
        hypervolume(np.array([[math.inf, 1.0]]), np.zeros(2), both)
    with pytest.raises(BadConfig, match="finite numbers"):
        hypervolume(np.zeros((1, 2)), np.array([0.0, math.inf]), both)
    with pytest.raises(BadData, match="at least one seed"):
        front(np.zeros((0, 2, 2)), both, np.zeros(2))
