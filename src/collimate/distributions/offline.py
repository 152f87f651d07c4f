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


def offline_triples() -> Offline:
    """Preference pairs with a third, gold answer to imitate. Source: saeidi:25.

    >>> offline_triples().per_prompt
    3
    """
    return Offline(name="offline_triples", per_prompt=3, source="saeidi:25")


def offline_thumbs() -> Offline:
    """Answers that were called wanted or unwanted, each by itself. Source: ethayarajh:24.

    >>> offline_thumbs().per_prompt
    1
    """
    return Offline(name="offline_thumbs", per_prompt=1, source="ethayarajh:24")


def offline_lists() -> Offline:
    """Several scored or ranked answers to each prompt, as many as the data has.

    Source: rafailov:23 app. A.3.

    >>> offline_lists().per_prompt
    0
    """
    return Offline(name="offline_lists", per_prompt=0, source="rafailov:23 app. A.3")
