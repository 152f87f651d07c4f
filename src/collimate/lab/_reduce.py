"""How a method's terms become one objective."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from collimate.axes import Term


def shares(terms: Mapping[str, Term]) -> Float[Tensor, " unit"]:
    """Each unit's share of the objective Σ c·Σ values·weight / Σ weight."""
    each = [c * values * (weight / weight.sum()) for c, values, weight in terms.values()]
    return torch.stack(each).sum(0)
