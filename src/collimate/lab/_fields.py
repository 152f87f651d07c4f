"""Checks of a world's fields."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig

ROUNDING = 1e-5
"""What a sum of float32 inputs may miss; it is removed."""


def checked(name: str, value: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A finite float64 copy of the given shape, or of [context >= 1, response >= 2]."""
    if shape is None and (value.dim() != 2 or value.shape[0] < 1 or value.shape[1] < 2):
        raise BadConfig(
            f"{name} must have shape [context, response] with at least 2 responses, got "
            f"{list(value.shape)}"
        )
    if shape is not None and tuple(value.shape) != shape:
        raise BadConfig(
            f"{name} must have shape {list(shape)} to match reference_log_probs, got "
            f"{list(value.shape)}"
        )
    copy = value.detach().to(torch.float64, copy=True)
    if not torch.isfinite(copy).all():
        where = (~torch.isfinite(copy)).nonzero()[0].tolist()
        raise BadConfig(
            f"{name}{where} is {copy[tuple(where)].item()}: every entry must be finite; leave out "
            "responses that cannot occur"
        )
    return copy


def checked_law(name: str, law: Tensor) -> Tensor:
    """Probabilities, divided by their sum in each context."""
    total = law.flatten(1).sum(-1)
    if (law < 0).any() or ((total - 1).abs() > ROUNDING).any():
        raise BadConfig(
            f"{name} must be non-negative and sum to 1 in each context, got sums "
            f"{[round(x, 6) for x in total.tolist()]} and least entry {law.min().item():.6g}; "
            "divide each context by its sum"
        )
    return law / total.reshape(-1, *[1] * (law.dim() - 1))


def checked_list_size(size: int) -> int:
    """A whole number of at least 1."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise BadConfig(f"list_size must be a whole number of answers of at least 1, got {size!r}")
    return size


def checked_tokens(tokens: Tensor) -> Tensor:
    """Whole numbers of at least 1."""
    if (tokens < 1).any() or (tokens != tokens.round()).any():
        raise BadConfig(
            "tokens must be whole numbers of at least 1, got "
            f"{tokens.min().item():g} to {tokens.max().item():g}"
        )
    return tokens


def checked_preference(
    matrix: Float[Tensor, "context response response"],
) -> Float[Tensor, "context response response"]:
    """P with P + Pᵀ = 1 to the last bit."""
    if (matrix < 0).any() or (matrix > 1).any():
        raise BadConfig(
            f"preference must lie in [0, 1], got {matrix.min().item():.6g} to "
            f"{matrix.max().item():.6g}: entry [c, y, y'] is the probability that y beats y'"
        )
    miss = (matrix + matrix.mT - 1).abs()
    if miss.max().item() > ROUNDING:
        c, y, z = (int(i) for i in np.unravel_index(int(miss.argmax()), miss.shape))
        raise BadConfig(
            f"preference: P[{c}, {y}, {z}] + P[{c}, {z}, {y}] = "
            f"{(matrix[c, y, z] + matrix[c, z, y]).item():.6g}, not 1: exactly one of two "
            "responses is preferred"
        )
    return (matrix + 1 - matrix.mT) / 2
