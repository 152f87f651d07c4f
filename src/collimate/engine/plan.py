"""Which examples a step takes, and how they are cut into micro-batches."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from collimate._types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run's steps: `batch_size` examples each, drawn without replacement per epoch, by seed.

    A step's examples depend on the seed alone, not on token budgets, packing or processes. The last
    step of an epoch takes what is left.
    """

    examples: int
    batch_size: int
    steps: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps that use every example once."""
        return ceil(self.examples / self.batch_size)

    def step(self, index: int) -> np.ndarray:
        """Indices of the examples of the 0-based step `index`."""
        epoch, within = divmod(index, self.steps_per_epoch)
        return _order(self.seed, epoch, self.examples)[
            within * self.batch_size : (within + 1) * self.batch_size
        ]

    def epoch(self, steps_done: int) -> float:
        """Passes over the data after `steps_done` steps."""
        return steps_done / self.steps_per_epoch


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, examples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(examples)


def shares(examples: Sequence[Example], processes: int) -> list[tuple[int, ...]]:
    """The examples of each process: positions, longest first to whoever has the fewest tokens."""
    load = [0] * processes
    taken: list[list[int]] = [[] for _ in range(processes)]
    for i in sorted(range(len(examples)), key=lambda i: (-examples[i].tokens, i)):
        least = load.index(min(load))
        taken[least].append(i)
        load[least] += examples[i].tokens
    return [tuple(own) for own in taken]


def micro_batches(
    examples: Sequence[Example], budget: int, *, shared: bool, answer_tokens: int | None = None
) -> list[tuple[int, ...]]:
    """Cut examples into micro-batches of at most `budget` tokens, padding included.

    answer_tokens: at most so many of them are of answers; None: any number. Positions into
    `examples`, longest first, so that the peak comes first. In the shared layout an example goes
    where it leaves the least room (best fit, longest first: close to the fewest micro-batches);
    padded rows go beside those of like length. Every micro-batch holds at least one example.

    Errors: none; an example beyond a limit gets a micro-batch of its own.
    """
    most = budget if answer_tokens is None else answer_tokens
    return _best_fit(examples, budget, most) if shared else _rectangles(examples, budget, most)


def _best_fit(examples: Sequence[Example], budget: int, most: int) -> list[tuple[int, ...]]:
    order = sorted(range(len(examples)), key=lambda i: (-examples[i].tokens, i))
    batches: list[list[int]] = []
    answers: list[int] = []  # of each micro-batch: answer tokens left
    rooms: list[tuple[int, int]] = []  # (tokens left, micro-batch), ascending
    for i in order:
        tokens, answered = examples[i].tokens, examples[i].answer_tokens
        at = bisect_left(rooms, (tokens, 0))
        while at < len(rooms) and answers[rooms[at][1]] < answered:
            at += 1
        if at < len(rooms):
            left, batch = rooms.pop(at)
        else:
            left, batch = budget, len(batches)
            batches.append([])
            answers.append(most)
        batches[batch].append(i)
        answers[batch] -= answered
        if left > tokens and answers[batch] > 0:
            insort(rooms, (left - tokens, batch))
    return [tuple(batch) for batch in batches]


def _rectangles(examples: Sequence[Example], budget: int, most: int) -> list[tuple[int, ...]]:
    sizes = [(len(example.answers), _longest_row(example)) for example in examples]
    order = sorted(range(len(examples)), key=lambda i: (-sizes[i][1], -sizes[i][0], i))
    batches: list[list[int]] = []
    rows = width = answers = 0
    for i in order:
        (more, own), answered = sizes[i], examples[i].answer_tokens
        if not batches or (rows + more) * max(width, own) > budget or answers + answered > most:
            batches.append([])
            rows = width = answers = 0
        batches[-1].append(i)
        rows, width, answers = rows + more, max(width, own), answers + answered
    return [tuple(batch) for batch in batches]


def _longest_row(example: Example) -> int:
    return len(example.prompt) + max(len(answer.ids) for answer in example.answers)
