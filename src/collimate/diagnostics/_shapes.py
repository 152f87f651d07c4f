"""Shapes that must agree."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from collimate._checks import BadData


def require_shape(name: str, value: Tensor, shape: Sequence[int], unit: str) -> None:
    """Raise `BadData` unless `value` has this shape; `unit` says what one entry belongs to."""
    if tuple(value.shape) != tuple(shape):
        raise BadData(
            f"{name} must have shape {list(shape)}, one value per {unit}, got {list(value.shape)}"
        )


def require_some(name: str, value: Tensor, unit: str) -> None:
    """Raise `BadData` for a tensor without entries."""
    if value.numel() == 0:
        raise BadData(f"{name} is empty: give at least one {unit}")


def require_finite(name: str, value: Tensor) -> None:
    """Raise `BadData` for NaN and infinities, with the place of the first."""
    bad = (~value.isfinite()).nonzero()
    if len(bad):
        place = bad[0].tolist()
        raise BadData(f"{name} must be finite, got {value[tuple(place)].item()} at {place}")
