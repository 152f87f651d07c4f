"""Groups of units that depend on each other, as numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int


def numbered(groups: Sequence[Hashable]) -> tuple[Int[np.ndarray, " unit"], int]:
    """The number of each unit's group, in order of first appearance, and how many there are.

    >>> numbered(["a", "b", "a"])
    (array([0, 1, 0]), 2)
    """
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([index[group] for group in groups]), len(index)
