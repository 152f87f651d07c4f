"""Examples that travel as bytes."""

from __future__ import annotations

import numpy as np

from collimate._types import Answer, Example
from collimate.engine.block import block_bytes, examples_of
from tests.engine.tiny import pairs


def weighted() -> Example:
    """One answer whose middle token weighs nothing, beside one without weights; no prompt but one id."""
    weight = np.array([1, 0, 0.5], np.float32)
    return Example(
        prompt=np.array([9], np.int32),
        answers=(
            Answer(ids=np.array([4, 5, 6], np.int32), token_weight=weight),
            Answer(ids=np.array([7], np.int32), label=-1),
        ),
        row=2**40,
        columns={"margin": 1.0},
    )


def test_a_block_holds_what_scoring_reads() -> None:
    examples = [*pairs(5), weighted(), *pairs(3, seed=1)]
    found = examples_of(block_bytes(examples))
    assert [one.row for one in found] == [one.row for one in examples]
    for one, other in zip(found, examples, strict=True):
        assert one.prompt.tolist() == other.prompt.tolist()
        assert len(one.answers) == len(other.answers)
        for answer, given in zip(one.answers, other.answers, strict=True):
            assert answer.ids.tolist() == given.ids.tolist()
            assert (answer.token_weight is None) == (given.token_weight is None)
            if given.token_weight is not None:
                assert answer.token_weight is not None
                assert answer.token_weight.tolist() == given.token_weight.tolist()


def test_equal_examples_are_equal_bytes_and_a_moved_boundary_is_not() -> None:
    assert block_bytes(pairs(4)) == block_bytes(pairs(4))
    one, other = (
        Example(prompt=np.arange(n), answers=(Answer(ids=np.arange(n, 5)),), row=0) for n in (2, 3)
    )
    assert block_bytes([one]) != block_bytes([other])
