"""The logistic loss and its label-smoothed form."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from collimate._checks import positive, within
from collimate.losses.loss import Loss


def _logistic(z: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    return -functional.logsigmoid(z)


def _smoothed(z: Float[Tensor, "*any"], *, label_smoothing: float) -> Float[Tensor, "*any"]:
    return (1 - label_smoothing) * _logistic(z) + label_smoothing * _logistic(-z)


logistic = Loss(name="logistic", value=_logistic, source="bradley:52", formula="-log(s(z))")
"""-log sigmoid(z) = log(1 + e^-z).

Law: logistic(z) - logistic(-z) = -z. Range (0, inf), log 2 at z = 0. Source: bradley:52, as the
negative log-likelihood of a Bradley-Terry model.
"""


def smoothed_logistic(label_smoothing: float) -> Loss:
    """(1 - e)·(-log sigmoid(z)) + e·(-log sigmoid(-z)), e = label_smoothing in (0, ½).

    Its minimum is at z = log((1 - e)/e): a finite margin, unlike the logistic loss.

    Errors: BadConfig outside (0, ½); at 0 use `logistic`. Source: mitchell:23.

    >>> import torch
    >>> smoothed_logistic(0.1)(torch.tensor([0.0]))
    tensor([0.6931])
    """
    positive("label_smoothing", label_smoothing)
    within("label_smoothing", label_smoothing, 0.0, 0.5)
    return Loss(
        name=f"smoothed_logistic({label_smoothing:g})",
        value=partial(_smoothed, label_smoothing=label_smoothing),
        source="mitchell:23",
        formula=f"(1 - {label_smoothing})·-log(s(z)) + {label_smoothing}·-log(s(-z))",
    )
