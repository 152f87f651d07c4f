"""The alarm of lost chosen answers: when it rings, and whom it names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from collimate.report import began, displaced, displaced_sentence, suspect_pairs
from collimate.report._displaced import CONCENTRATED, DISPLACED_LINES, EXPLAINED, LOST, SHARE_LOST

SERIES = arrays(float, 12, elements=st.floats(-50, 50))


def flat(value, length=DISPLACED_LINES):
    return np.full(length, float(value))


@pytest.mark.parametrize(
    ("chosen", "rejected", "start", "expected"),
    [
        (-LOST, -9, -1, True),
        (-0.99 * LOST, -9, -1, False),  # hardly anything was lost
        (-3, -9, -3 / SHARE_LOST, True),
        (-3, -9, -3.1 / SHARE_LOST, False),  # a long answer that lost nats which mean little
        (-3, -3, -1, False),  # the gap did not grow: something else is wrong
        (-3, 1, -1, False),
        (3, -9, -1, False),
    ],
)
def test_it_rings_beyond_both_thresholds_while_the_gap_grows(chosen, rejected, start, expected):
    assert displaced(flat(chosen), flat(rejected), flat(start)) is expected


def test_few_lines_say_nothing_and_skipped_ones_do_not_count():
    args = flat(-5), flat(-9), flat(-1)
    assert not displaced(*(x[1:] for x in args))
    held = [np.insert(x, 2, np.nan) for x in args]
    assert displaced(*held)
    assert not displaced(*(x[1:] for x in held))


@given(SERIES, SERIES, SERIES)
def test_only_the_last_lines_count(chosen, rejected, start):
    told = displaced(chosen, rejected, start)
    assert displaced(*(x[-DISPLACED_LINES:] for x in (chosen, rejected, start))) is told


def test_the_fall_began_where_most_of_it_lay_ahead():
    assert began(np.array([0.0, -0.2, 0.1, -0.5, -3.0, -3, -3, -3, -3, -3])) == 3
    assert began(np.array([-1.0, -1.0])) == 0


@given(SERIES)
def test_the_fall_began_at_some_line(chosen):
    assert 0 <= began(chosen) < len(chosen)
    assert 0 <= began(np.append(chosen - 60, 0.3)) <= len(chosen)  # back above at the last line


CHANGES = arrays(float, 20, elements=st.floats(-20, 20))


@given(CHANGES, CHANGES)
def test_suspects_are_the_fewest_of_highest_ches_that_explain_the_share(change, ches):
    found = suspect_pairs(change, ches)
    lost = np.maximum(-change, 0)
    if len(found):
        assert (change[found] < 0).all()
        others = np.setdiff1d(np.flatnonzero(lost), found)
        assert not len(others) or ches[found].min() >= ches[others].max()
        assert lost[found].sum() >= (EXPLAINED - 1e-12) * lost.sum()
        assert lost[found[:-1]].sum() < EXPLAINED * lost.sum()
        assert len(found) <= CONCENTRATED * len(change)
    else:  # of more than half of the pairs nobody is suspect
        order = np.argsort(-ches, kind="stable")
        half = order[lost[order] > 0][: int(CONCENTRATED * len(change))]
        assert not lost.any() or lost[half].sum() < EXPLAINED * lost.sum() * (1 + 1e-12)


@given(CHANGES, st.permutations(range(20)))
def test_the_order_of_the_pairs_does_not_matter(change, order):
    order, ches = np.array(order), np.arange(20.0)
    assert set(order[suspect_pairs(change[order], ches[order])]) == set(suspect_pairs(change, ches))


def test_pairs_that_no_step_took_are_no_suspects():
    change, ches = np.array([-9.0, np.nan, -1.0, 0.0]), np.array([2.0, 9.0, np.nan, 1.0])
    assert suspect_pairs(change, ches).tolist() == [0]
    assert not len(suspect_pairs(flat(np.nan), flat(1)))


def test_the_sentence_is_plain():
    assert "the 31 with the highest CHES score hold 80 % of" in displaced_sentence(14.0, 3, 31)
    assert "the one with the highest CHES score holds 80 % of" in displaced_sentence(2.0, 3, 1)
    assert "suspect_rows" not in displaced_sentence(2.0, 3, 0)
