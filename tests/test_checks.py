"""Checks that more than one part shares."""

import pytest

from collimate._checks import BadData, same_length


@pytest.mark.parametrize("lengths", [{"a": 2, "b": 3}, {"a": 0, "b": 0}, {"a": 1, "b": 0}], ids=str)
def test_arrays_that_do_not_belong_together_are_refused(lengths):
    with pytest.raises(BadData, match=f"got {lengths['a']} of a, {lengths['b']} of b"):
        same_length(**lengths)
