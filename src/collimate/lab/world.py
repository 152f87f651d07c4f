"""Enumerable worlds in which every expectation is a sum."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A finite set of contexts and responses."""

    reference_log_probs: Float[Tensor, "context response"]
    reward: Float[Tensor, "context response"]
