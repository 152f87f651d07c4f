"""A constant beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from collimate._checks import positive
from collimate.axes import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """beta is one number for the whole run; no state."""

    value: float
    source: str = "rafailov:23"
    couples: Literal["example"] = "example"

    @property
    def name(self) -> str:
        """`fixed(beta)`."""
        return f"fixed({self.value:g})"

    @property
    def formula(self) -> str:
        """The constant as text."""
        return f"{self.value}"

    def init(self) -> State:
        """Nothing to remember."""
        return {}

    def beta(self, view: Any, state: State, /) -> float:
        """The constant."""
        return self.value

    def update(self, view: Any, state: State, /) -> State:
        """Nothing changes."""
        return state


def fixed(beta: float) -> Fixed:
    """A constant trade-off: beta > 0, the price of one nat of divergence in units of reward.

    Errors: BadConfig unless beta is finite and above 0. Source: rafailov:23.

    >>> fixed(0.1).name
    'fixed(0.1)'
    """
    return Fixed(value=positive("beta", beta))
