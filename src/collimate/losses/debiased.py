"""The logistic loss freed of a known share of flipped labels."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import positive, within
from collimate.losses.logistic import logistic
from collimate.losses.loss import Loss


def _debiased(z: Float[Tensor, "*any"], *, flip_rate: float) -> Float[Tensor, "*any"]:
    return ((1 - flip_rate) * logistic(z) - flip_rate * logistic(-z)) / (1 - 2 * flip_rate)


def debiased_logistic(flip_rate: float) -> Loss:
    """[(1 - e)·(-log sigmoid(z)) - e·(-log sigmoid(-z))] / (1 - 2e), e = flip_rate in (0, ½).

    Its mean over labels flipped with probability e is the logistic loss of the clean label. It falls
    to -inf with slope -e/(1 - 2e): a policy that can move z without bound needs an early stop.

    Errors: BadConfig outside (0, ½); at 0 use `logistic`. Source: chowdhury:24.

    >>> import torch
    >>> debiased_logistic(0.1)(torch.tensor([0.0]))
    tensor([0.6931])
    """
    positive("flip_rate", flip_rate)
    within("flip_rate", flip_rate, 0.0, 0.5)
    return Loss(
        name=f"debiased_logistic({flip_rate:g})",
        value=partial(_debiased, flip_rate=flip_rate),
        source="chowdhury:24",
        formula=(f"((1 - {flip_rate})·-log(s(z)) - {flip_rate}·-log(s(-z)))/(1 - 2·{flip_rate})"),
    )
