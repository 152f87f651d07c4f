"""Metrics of lifelong learning, by hand and under relabelling."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadData
from collimate.diagnostics.lifelong import (
    Evaluated,
    Learnt,
    performance_maintenance,
    recovery,
    relative_performance,
    sample_efficiency,
    scaled,
    transfer,
)


def block(a, b, c):
    return Evaluated(performance={"a": a, "b": b, "c": c})


LOG = [
    block(10.0, 10.0, 10.0),
    Learnt(task="a"),
    block(90.0, 30.0, 10.0),
    Learnt(task="b"),
    block(60.0, 80.0, 30.0),
    Learnt(task="c"),
    block(50.0, 70.0, 90.0),
    Learnt(task="a"),
    block(95.0, 60.0, 80.0),
    block(85.0, 60.0, 80.0),
]


def test_maintenance_by_hand():
    """a: 60 and 50 against 90, after its second learning 85 against 95."""
    found = performance_maintenance(LOG)
    assert found == {
        "a": pytest.approx((-30 - 40 - 10) / 3),
        "b": pytest.approx((-10 - 20 - 20) / 3),
        "c": pytest.approx((-10 - 10) / 2),
    }


def test_transfer_by_hand():
    found = transfer(LOG)
    assert found.forward == {
        ("a", "b"): pytest.approx(20 / 40),
        ("a", "c"): 0,
        ("b", "c"): pytest.approx(20 / 40),
    }
    assert found.backward == {
        ("b", "a"): pytest.approx(-30 / 150),
        ("c", "a"): pytest.approx(-10 / 110),
        ("c", "b"): pytest.approx(-10 / 150),
        ("a", "b"): pytest.approx(-10 / 130),
        ("a", "c"): pytest.approx(-10 / 170),
    }


def renamed(entry, names):
    if isinstance(entry, Learnt):
        return Learnt(task=names[entry.task])
    return Evaluated(performance={names[t]: x for t, x in sorted(entry.performance.items())[::-1]})


@given(names=st.permutations(["x", "y", "z"]))
def test_the_names_of_tasks_change_nothing(names):
    new = dict(zip("abc", names, strict=True))
    log = [renamed(entry, new) for entry in LOG]
    kept = performance_maintenance(log)
    assert kept == {new[t]: x for t, x in performance_maintenance(LOG).items()}
    moved, before = transfer(log), transfer(LOG)
    assert moved.forward == {(new[i], new[j]): x for (i, j), x in before.forward.items()}
    assert moved.backward == {(new[i], new[j]): x for (i, j), x in before.backward.items()}


def test_a_learner_that_forgets_nothing_has_zero():
    log = [Learnt(task="a"), block(90, 1, 1), Learnt(task="b"), block(90, 80, 1)]
    assert performance_maintenance(log) == {"a": 0}
    assert performance_maintenance([]) == {}
    assert transfer([block(1, 1, 1), block(2, 2, 2)]).forward == {}


def test_only_evaluations_next_to_a_block_are_contrasted():
    """Nothing was measured between the two blocks: nobody knows which of them it was."""
    found = transfer([block(10, 10, 10), Learnt(task="a"), Learnt(task="b"), block(1, 2, 3)])
    assert (found.forward, found.backward) == ({}, {})


def test_the_offset_of_the_scale_decides_a_contrast():
    """0 to 10 %: with 1 to 101 it is 10/12, with a smaller offset it nears 1."""
    before, after = scaled(0.0, 0.0, 1.0), scaled(0.1, 0.0, 1.0)
    assert (after - before) / (after + before) == pytest.approx(10 / 12)
    assert (scaled(-4.0, -4.0, 6.0), scaled(6.0, -4.0, 6.0)) == (1, 101)


series = st.lists(st.floats(1, 101), min_size=1, max_size=15)


@given(performance=series)
def test_the_specialist_against_itself_is_one(performance):
    assert relative_performance(performance, performance) == 1.0
    assert sample_efficiency(performance, performance) == 1.0


def test_efficiency_by_hand():
    """Windows of 2: best 35 after 4 against best 25 after 3."""
    learner, expert = [10.0, 20.0, 30.0, 40.0, 10.0], [10.0, 20.0, 30.0]
    assert sample_efficiency(learner, expert, window=2) == pytest.approx(35 / 25 * 3 / 4)
    assert relative_performance(learner, expert) == 1.0
    assert relative_performance(learner[::-1], expert) == pytest.approx(80 / 60)


@given(times=st.lists(st.floats(-100, 100), min_size=2, max_size=10))
def test_a_trend_of_recoveries(times):
    slopes = sorted((times[j] - times[i]) / (j - i) for j in range(len(times)) for i in range(j))
    half = len(slopes) // 2
    middle = slopes[half] if len(slopes) % 2 else (slopes[half - 1] + slopes[half]) / 2
    assert recovery(times) == pytest.approx(-middle)


def test_one_bad_day_does_not_move_a_trend():
    assert recovery([50.0, 40.0, 999.0, 20.0, 10.0, 0.0]) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: performance_maintenance([block(math.nan, 1, 1)]), BadData, "got nan of 'a'"),
        (lambda: transfer([block(1, 0, 1)]), BadData, "above 0, got 0 of 'b'"),
        (lambda: relative_performance([], [1.0]), BadData, "the series of performance is empty"),
        (lambda: relative_performance([1.0], [-1.0]), BadData, "above 0, got -1.0"),
        (lambda: sample_efficiency([1.0], [1.0, 2.0], window=2), BadConfig, "must fit into both"),
        (lambda: recovery([1.0]), BadData, "at least two finite recovery times"),
        (lambda: scaled(0.5, 1.0, 1.0), BadConfig, "low < high must be finite"),
    ],
    ids=["nan", "zero", "empty", "negative", "window", "times", "scale"],
)
def test_what_cannot_be(call, error, message):
    with pytest.raises(error, match=message):
        call()
