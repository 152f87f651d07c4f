"""Samples that were drawn before training: nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from collimate._types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """The data as it is: every example is used once per epoch, with the answers it came with."""

    name: str
    per_prompt: int
    source: str
    draw: Literal["data"] = "data"

    def select(self, scored: Example, generator: np.random.Generator, /) -> Sequence[Example]:
        """The example itself."""
        return (scored,)


def offline_pairs() -> Offline:
    """Preference pairs (y_w ≻ y_l | x) from a fixed data set, whoever wrote and judged them.

    Source: rafailov:23 sec. 4.

    >>> offline_pairs().per_prompt
    2
    """
    return Offline(name="offline_pairs", per_prompt=2, source="rafailov:23 sec. 4")
