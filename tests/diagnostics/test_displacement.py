"""What fell, and where the mass went, against sums written out."""

import math
from inspect import unwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadData
from collimate._types import PairLogProbs
from collimate.diagnostics import displacement, where_the_mass_went


def pairs(chosen, rejected):
    return PairLogProbs(
        policy_chosen=torch.tensor(chosen, dtype=torch.float64),
        policy_rejected=torch.tensor(rejected, dtype=torch.float64),
    )


def test_changes_and_shares_by_hand():
    moved = displacement(
        pairs([-1.0, -2.0, -3.0, -4.0], [-1.0, -1.0, -1.0, -1.0]),
        pairs([-2.0, -2.0, -1.0, -9.0], [-3.0, -4.0, -0.5, -0.5]),
    )
    assert moved.chosen.tolist() == [-1, 0, 2, -5]
    assert moved.rejected.tolist() == [-2, -3, 0.5, 0.5]
    assert moved.gap.tolist() == [1, 3, 1.5, -5.5]
    assert moved.chosen_fell == 0.5  # the second stands still
    assert moved.both_fell == 0.25


def test_an_answer_that_became_impossible_fell():
    moved = displacement(pairs([-1.0], [-1.0]), pairs([-math.inf], [-1.0]))
    assert moved.chosen.item() == -math.inf
    assert moved.chosen_fell == 1


def test_it_leaves_the_graph_alone():
    policy = torch.tensor([-1.0], requires_grad=True)
    after = PairLogProbs(policy_chosen=2 * policy, policy_rejected=3 * policy)
    assert not displacement(pairs([-1.0], [-1.0]), after).gap.requires_grad


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (pairs([], []), pairs([], []), "before is empty"),
        (pairs([-1.0], [-1.0]), pairs([-1.0] * 2, [-1.0] * 2), r"after must have shape \[1\]"),
        (
            pairs([-math.inf], [-1.0]),
            pairs([-1.0], [-1.0]),
            "policy_chosen must be finite, got -inf",
        ),
        (
            pairs([-1.0], [math.nan]),
            pairs([-1.0], [-1.0]),
            "policy_rejected must be finite, got nan",
        ),
    ],
    ids=["none", "number", "impossible", "nan"],
)
def test_pairs_that_cannot_be_compared(before, after, message):
    with pytest.raises(BadData, match=message):
        displacement(before, after)


@given(seed=st.integers(0, 2**31 - 1))
def test_the_mass_of_three_kinds_is_conserved_and_each_is_its_sum(seed):
    generator = torch.Generator().manual_seed(seed)
    before, after = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator).log_softmax(-1)
    kind = torch.randint(3, (3, 5), generator=generator)
    moved = where_the_mass_went(before, after, kind == 0, kind == 1)
    for c in range(3):
        sums = [0.0, 0.0, 0.0]
        for y in range(5):
            sums[kind[c, y]] += math.exp(after[c, y]) - math.exp(before[c, y])
        found = [moved.chosen[c].item(), moved.rejected[c].item(), moved.other[c].item()]
        assert found == pytest.approx(sums, abs=1e-14)
        assert sum(found) == pytest.approx(0, abs=1e-14)


def test_mass_of_answers_that_never_come():
    before = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    first = torch.tensor([[True, False, False]])
    moved = where_the_mass_went(before, before.roll(1), first, first.roll(1))
    assert (moved.chosen.item(), moved.rejected.item(), moved.other.item()) == (-0.5, 0, 0.5)


HALF = torch.tensor([[0.5, 0.5]]).log()
FIRST = torch.tensor([[True, False]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((HALF, HALF, FIRST, FIRST), r"answer \[0, 0\] is both chosen and rejected"),
        ((HALF, HALF + 0.1, FIRST, ~FIRST), "log_p_after: .* context 0 sum to 1.10517, not 1"),
        ((HALF * math.nan, HALF, FIRST, ~FIRST), "log_p_before: .* sum to nan"),
        ((HALF, HALF[:, :1], FIRST, ~FIRST), r"log_p_after must have shape \[1, 2\]"),
        ((HALF, HALF, FIRST[:, :1], ~FIRST), r"chosen must have shape \[1, 2\]"),
    ],
    ids=["both", "sum", "nan", "answers", "mask"],
)
def test_worlds_that_are_none(arguments, message):
    with pytest.raises(BadData, match=message):
        unwrap(where_the_mass_went)(*arguments)  # as users call it: no shape checks of the tests
