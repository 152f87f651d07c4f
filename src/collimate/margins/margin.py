"""The record of a margin: h, its target, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from collimate.axes import Divergence, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """h, one number per unit of a view, and the target it is compared with: z = beta·h - target.

    value: (view, divergence) -> h [unit] in nats. constant: the target where it is one number.
    target_of: view -> target [unit] where it depends on the data, else None.
    facts: (view, divergence) -> numbers worth logging, one per unit: booleans are counted.
    closed_form: h reads f' as an implicit reward, valid only where f'(0+) = -inf. other_reading: h
    reads the divergence in another way. compares: h sets the chosen answer against the rejected one,
    and is a gap of rewards. formula: h as text, in the symbols that `collimate.explain` names; f' is
    the divergence's.
    """

    name: str
    value: Callable[[Any, Any], Tensor]
    needs: Needs
    source: str
    closed_form: bool = False
    other_reading: bool = False
    compares: bool = True
    constant: float = 0.0
    target_of: Callable[[Any], Tensor] | None = None
    facts: Callable[[Any, Any], Mapping[str, Tensor]] | None = None
    formula: str = ""

    def __call__(self, view: Any, /, *, divergence: Divergence) -> Float[Tensor, "unit ..."]:
        """h of each unit (nats), or several for a loss that reads them together."""
        return self.value(view, divergence)

    @property
    def reads_divergence(self) -> bool:
        """Whether another divergence gives another h."""
        return self.closed_form or self.other_reading

    def target(self, view: Any, /) -> float | Float[Tensor, " unit"]:
        """What beta·h is compared with."""
        return self.constant if self.target_of is None else self.target_of(view)

    def measure(
        self, view: Any, /, *, divergence: Divergence
    ) -> Mapping[str, Float[Tensor, " unit"] | Bool[Tensor, " unit"]]:
        """Numbers worth logging, one per unit (booleans are counted); empty for most margins."""
        return {} if self.facts is None else self.facts(view, divergence)
