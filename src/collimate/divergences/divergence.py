"""The record of a divergence that is not an f-divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainDivergence:
    """D(p‖q) as a whole: no f, so no margin can read it and no optimum follows from it.

    exact: (log p, log q) -> D in nats over the last dimension. source: keys into the bibliography.
    formula: D as text, in p and q.
    """

    name: str
    exact: Callable[[Tensor, Tensor], Tensor]
    source: str
    formula: str = ""
