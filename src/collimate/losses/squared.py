"""The squared loss."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import positive
from collimate.losses.loss import Loss


def _squared(z: Float[Tensor, "*any"], *, unit: float) -> Float[Tensor, "*any"]:
    return (z / unit).square()


def squared(unit: float = 1.0) -> Loss:
    """(z / unit)²: regression of beta·h onto its target, both sides punished.

    `unit` > 0 is the size of z that costs 1; IPO is unit = beta, target = ½.

    Errors: BadConfig unless unit is finite and above 0. Source: azar:24 eq. 17.

    >>> import torch
    >>> squared(unit=0.5)(torch.tensor([1.0]))
    tensor([4.])
    """
    positive("unit", unit)
    return Loss(
        name=f"squared({unit:g})",
        value=partial(_squared, unit=unit),
        source="azar:24 eq. 17",
        formula=f"(z/{unit})^2" if unit != 1 else "z^2",
    )
