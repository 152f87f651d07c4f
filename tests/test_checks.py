"""Checks that more than one part shares."""

import pytest

from collimate._checks import BadConfig, BadData, one_of, same_length


@pytest.mark.parametrize("lengths", [{"a": 2, "b": 3}, {"a": 0, "b": 0}, {"a": 1, "b": 0}], ids=str)
def test_arrays_that_do_not_belong_together_are_refused(lengths):
    with pytest.raises(BadData, match=f"got {lengths['a']} of a, {lengths['b']} of b"):
        same_length(**lengths)


def test_a_word_that_is_not_known_is_refused_with_the_nearest():
    with pytest.raises(BadConfig, match="'average', 'random', got 'randm'; did you mean 'random'"):
        one_of("ties", "randm", ("average", "random"))
