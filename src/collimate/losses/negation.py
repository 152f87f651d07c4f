"""No shape at all: what is wanted large, with its sign turned."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate.losses.loss import Loss


def _negated(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -z


negation = Loss(name="negation", value=_negated, source="fisher:22", formula="-z")
"""-z: with z a log-probability the negative log-likelihood, the loss of supervised fine-tuning.

Source: fisher:22 (maximum likelihood).
"""
