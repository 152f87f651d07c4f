"""The reverse KL between the policy's and the labels' choice of a pair."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import positive, within
from collimate.losses.logistic import logistic
from collimate.losses.loss import Loss


def _kl(z: Float[Tensor, "*any"], *, label_smoothing: float) -> Float[Tensor, "*any"]:
    chosen = torch.sigmoid(z) * (-logistic(z) - math.log1p(-label_smoothing))
    return chosen + torch.sigmoid(-z) * (-logistic(-z) - math.log(label_smoothing))


def bernoulli_kl(label_smoothing: float = 1e-3) -> Loss:
    """KL(Bern(sigmoid(z)) ‖ Bern(1 - e)), e = label_smoothing in (0, ½).

    Its minimum, 0, is at z = log((1 - e)/e). Not convex: bounded by -log e, flat far from it.

    Errors: BadConfig outside (0, ½). Source: ji:24 (K = 2).

    >>> bernoulli_kl(0.1)(torch.tensor([0.0]))
    tensor([0.5108])
    """
    positive("label_smoothing", label_smoothing)
    within("label_smoothing", label_smoothing, 0.0, 0.5)
    return Loss(
        name=f"bernoulli_kl({label_smoothing:g})",
        value=partial(_kl, label_smoothing=label_smoothing),
        source="ji:24",
        formula=f"s(z)·log(s(z)/(1 - {label_smoothing})) + s(-z)·log(s(-z)/{label_smoothing})",
    )
