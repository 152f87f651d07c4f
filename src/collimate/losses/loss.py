"""The record of a loss of z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a missed margin costs: z = beta·h - target -> loss, elementwise but for rankings.

    value: the function. source: keys into the bibliography. formula: the function as text in z,
    with its numbers, for `collimate explain`; s is the sigmoid.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    source: str
    formula: str = ""

    def __call__(self, z: Float[Tensor, "*any"], /) -> Float[Tensor, ...]:
        """The loss of each z, or of each row of them (`plackett_luce`)."""
        return self.value(z)
