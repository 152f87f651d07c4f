"""Thinned lines keep what a reader looks for: the ends, the spikes and the gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from collimate.report._thin import smooth, thin, window

VALUES = st.floats(-1e6, 1e6) | st.just(float("nan"))
SERIES = arrays(np.float64, st.integers(1, 400), elements=VALUES)


@given(y=SERIES, limit=st.integers(4, 100))
def test_thinning_keeps_ends_extremes_and_order(y: np.ndarray, limit: int) -> None:
    x = np.arange(len(y), dtype=np.float64)
    short_x, short_y = thin(x, y, limit)
    assert len(short_x) == len(short_y) <= max(limit, 0) or len(y) <= limit
    assert (np.diff(short_x) > 0).all()
    assert (short_x[0], short_x[-1]) == (x[0], x[-1])
    np.testing.assert_array_equal(short_y, y[short_x.astype(int)])
    if np.isfinite(y).any():
        assert (np.nanmin(short_y), np.nanmax(short_y)) == (np.nanmin(y), np.nanmax(y))


def test_few_points_stay_as_they_are() -> None:
    x, y = np.arange(5.0), np.array([1.0, np.nan, 3.0, 2.0, 0.0])
    np.testing.assert_array_equal(thin(x, y, 5)[1], y)


def test_a_gap_stays_a_gap() -> None:
    y = np.ones(1000)
    y[300:600] = np.nan
    assert np.isnan(thin(np.arange(1000.0), y, 50)[1]).sum() >= 5


@given(y=SERIES, half=st.integers(0, 20))
def test_the_moving_average_is_the_mean_of_its_window(y: np.ndarray, half: int) -> None:
    found = smooth(y, 2 * half + 1)
    assert len(found) == len(y)
    for i in range(0, len(y), 17):
        inside = y[max(i - half, 0) : i + half + 1]
        inside = inside[np.isfinite(inside)]
        expected = inside.mean() if len(inside) else np.nan
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-6)


def test_one_huge_value_does_not_spoil_later_averages() -> None:
    y = np.full(1000, 0.5)
    y[10] = 1e30
    assert smooth(y, 11)[500] == pytest.approx(0.5)


@given(points=st.integers(1, 10**6))
def test_windows_are_odd_and_shorter_than_the_series(points: int) -> None:
    assert window(points) % 2 == 1
    assert window(points) <= points
