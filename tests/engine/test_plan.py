"""Which examples a step takes, and how micro-batches are cut: laws for any data and budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._types import Answer, Example
from collimate.engine.packing import pack_plain, pack_shared
from collimate.engine.plan import Plan, micro_batches

plans = st.builds(
    Plan,
    examples=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    steps=st.just(10**6),
    seed=st.integers(0, 2**31),
)


def made(lengths: Sequence[tuple[int, list[int]]]) -> list[Example]:
    return [
        Example(
            prompt=np.zeros(prompt, dtype=np.int64),
            answers=tuple(Answer(ids=np.zeros(n, dtype=np.int64)) for n in answers),
            row=i,
        )
        for i, (prompt, answers) in enumerate(lengths)
    ]


data = st.lists(
    st.tuples(st.integers(1, 40), st.lists(st.integers(1, 40), min_size=1, max_size=4)),
    min_size=1,
    max_size=25,
)
Lengths = list[tuple[int, list[int]]]


@given(plan=plans, epoch=st.integers(0, 3))
def test_every_example_once_per_epoch(plan: Plan, epoch: int) -> None:
    first = epoch * plan.steps_per_epoch
    steps = [plan.step(first + i) for i in range(plan.steps_per_epoch)]
    assert sorted(np.concatenate(steps).tolist()) == list(range(plan.examples))
    assert [len(step) for step in steps[:-1]] == [plan.batch_size] * (len(steps) - 1)
    assert 1 <= len(steps[-1]) <= plan.batch_size


@given(plan=plans, index=st.integers(0, 200))
def test_a_step_depends_on_the_seed_alone(plan: Plan, index: int) -> None:
    again = Plan(examples=plan.examples, batch_size=plan.batch_size, steps=3, seed=plan.seed)
    later = plan.step(index + plan.steps_per_epoch)  # asked for in another order
    assert np.array_equal(again.step(index), plan.step(index))
    assert np.array_equal(again.step(index + plan.steps_per_epoch), later)


@given(seed=st.integers(0, 2**31), size=st.integers(1, 60))
def test_the_order_does_not_depend_on_the_batch_size(seed: int, size: int) -> None:
    """So that another batch size sees the same examples, only grouped otherwise."""
    one, other = (Plan(examples=60, batch_size=n, steps=9, seed=seed) for n in (1, size))
    singles = np.concatenate([one.step(i) for i in range(60)])
    grouped = np.concatenate([other.step(i) for i in range(other.steps_per_epoch)])
    assert np.array_equal(singles, grouped)


def test_seeds_and_epochs_shuffle_anew() -> None:
    orders = [
        Plan(examples=50, batch_size=50, steps=9, seed=seed).step(epoch).tolist()
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({tuple(order) for order in orders}) == 9
    assert list(range(50)) not in orders


def test_epochs_are_counted_in_passes() -> None:
    plan = Plan(examples=10, batch_size=4, steps=6, seed=0)
    assert plan.steps_per_epoch == 3
    assert [plan.epoch(n) for n in (0, 3, 6)] == [0, 1, 2]
    assert [len(plan.step(i)) for i in range(6)] == [4, 4, 2, 4, 4, 2]


@given(lengths=data, budget=st.integers(1, 400), shared=st.booleans())
def test_micro_batches_hold_every_example_once_within_the_budget(
    lengths: Lengths, budget: int, shared: bool
) -> None:
    examples = made(lengths)
    batches = micro_batches(examples, budget, shared=shared)
    assert sorted(i for batch in batches for i in batch) == list(range(len(examples)))
    pack = pack_shared if shared else pack_plain
    sizes = [pack([examples[i] for i in batch]).ids.numel() for batch in batches]
    for batch, size in zip(batches, sizes, strict=True):
        assert size <= budget or len(batch) == 1  # padding counts
    peak = [pack([examples[batch[0]]]).ids.numel() for batch in batches]
    if shared:
        assert peak == sorted(peak, reverse=True)


@given(lengths=data, shared=st.booleans())
def test_no_budget_is_wasted_on_a_batch_that_the_next_example_fits(
    lengths: Lengths, shared: bool
) -> None:
    examples = made(lengths)
    budget = 120
    batches = micro_batches(examples, budget, shared=shared)
    pack = pack_shared if shared else pack_plain
    for batch, following in pairwise(batches):
        together = [examples[i] for i in (*batch, following[0])]
        assert pack(together).ids.numel() > budget


@given(lengths=data, budget=st.integers(1, 400))
def test_no_two_shared_micro_batches_would_fit_in_one(lengths: Lengths, budget: int) -> None:
    """Wherever they stand in the plan: an example goes into any micro-batch with room, not the last."""
    examples = made(lengths)
    batches = micro_batches(examples, budget, shared=True)
    sizes = [sum(examples[i].tokens for i in batch) for batch in batches]
    assert all(a + b > budget for a, b in combinations(sizes, 2))


@given(lengths=data, budget=st.integers(1, 400), most=st.integers(1, 200), shared=st.booleans())
def test_micro_batches_hold_so_many_answer_tokens_and_waste_no_room(
    lengths: Lengths, budget: int, most: int, shared: bool
) -> None:
    examples = made(lengths)
    batches = micro_batches(examples, budget, shared=shared, answer_tokens=most)
    assert sorted(i for batch in batches for i in batch) == list(range(len(examples)))
    tokens = [sum(examples[i].tokens for i in batch) for batch in batches]
    answers = [sum(examples[i].answer_tokens for i in batch) for batch in batches]
    for batch, n, answered in zip(batches, tokens, answers, strict=True):
        assert len(batch) == 1 or (n <= budget and answered <= most)
    if shared:
        assert all(
            tokens[a] + tokens[b] > budget or answers[a] + answers[b] > most
            for a, b in combinations(range(len(batches)), 2)
        )
    unlimited = micro_batches(examples, budget, shared=shared, answer_tokens=10**9)
    assert unlimited == micro_batches(examples, budget, shared=shared)


@given(lengths=data, budget=st.integers(1, 400), shared=st.booleans())
def test_micro_batches_are_fixed_by_data_and_budget(
    lengths: Lengths, budget: int, shared: bool
) -> None:
    examples = made(lengths)
    first = micro_batches(examples, budget, shared=shared)
    assert first == micro_batches(list(examples), budget, shared=shared)
    assert len(first) >= len(micro_batches(examples, 10**9, shared=shared)) == 1


@given(lengths=data)
def test_both_layouts_hold_the_same_tokens(lengths: Lengths) -> None:
    rng = np.random.default_rng(0)
    examples = [
        Example(
            prompt=rng.integers(1, 9, len(e.prompt)),
            answers=tuple(Answer(ids=rng.integers(1, 9, len(a.ids))) for a in e.answers),
            row=e.row,
        )
        for e in made(lengths)
    ]
    shared, plain = pack_shared(examples), pack_plain(examples)
    assert shared.target.tolist() == plain.target.tolist()
    assert shared.ids.numel() == sum(e.tokens for e in examples)
    for packed in (shared, plain):
        before = packed.ids.flatten()[packed.select]  # the token that predicts each answer token
        position = packed.positions.flatten()[packed.select]
        expected = [
            ([e.prompt[-1], *a.ids[:-1]], range(len(e.prompt) - 1, len(e.prompt) + len(a.ids) - 1))
            for e in examples
            for a in e.answers
        ]
        assert before.tolist() == [token for tokens, _ in expected for token in tokens]
        assert position.tolist() == [p for _, positions in expected for p in positions]


@pytest.mark.parametrize("steps", [1, 7])
def test_the_last_step_of_an_epoch_takes_what_is_left(steps: int) -> None:
    plan = Plan(examples=steps, batch_size=100, steps=3, seed=0)
    assert math.prod(len(plan.step(i)) for i in range(3)) == steps**3
