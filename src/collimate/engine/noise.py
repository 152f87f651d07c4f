"""Random numbers for methods that read some: one per example and step, the same in a resumed run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from collimate._checks import BadData
from collimate._types import Example

COLUMN = "noise"
_STREAM = 1  # whatever else is drawn from the seed in this step must not go with it


def with_noise(examples: Sequence[Example], *, seed: int, step: int) -> list[Example]:
    """The examples of a step, each with a standard normal number in the column `noise`."""
    drawn = np.random.default_rng([seed, step, _STREAM]).standard_normal(len(examples))
    return [_with(example, float(x)) for example, x in zip(examples, drawn, strict=True)]


def without_noise(examples: Sequence[Example]) -> list[Example]:
    """Examples that are not trained on: `noise` is its mean, 0.

    Errors: BadData where the data have a column of that name.
    """
    for example in examples:
        if COLUMN in example.columns:
            raise BadData(
                f"row {example.row}: the data have a column '{COLUMN}', which this method draws "
                "itself: rename it"
            )
    return [_with(example, 0.0) for example in examples]


def _with(example: Example, value: float) -> Example:
    return replace(example, columns={**example.columns, COLUMN: value})
