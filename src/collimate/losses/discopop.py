"""The loss that a language model discovered: logistic and exponential, mixed by z itself."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from collimate._checks import BadConfig, positive
from collimate.losses.logistic import logistic
from collimate.losses.loss import Loss


def _mixed(z: Float[Tensor, "*any"], *, tau: float) -> Float[Tensor, "*any"]:
    # e^-z alone overflows where its weight sigmoid(z/tau) vanishes faster.
    exponential = torch.exp(functional.logsigmoid(z / tau) - z)
    return torch.sigmoid(-z / tau) * logistic(z) + exponential


def discopop_loss(tau: float = 0.05) -> Loss:
    """(1 - m)·(-log sigmoid(z)) + m·e^-z, m = sigmoid(z/tau), the gradient through m included.

    Not convex: at tau = 0.05 it has a local minimum at z = -0.12 and a maximum at 0.07, so that pairs
    that begin wrong can stay wrong.

    Args: tau in (0, 1). Errors: BadConfig outside. Source: lu:24 sec. 4 (log-ratio modulated loss).

    >>> discopop_loss()(torch.tensor([0.0]))
    tensor([0.8466])
    """
    if positive("tau", tau) >= 1:
        raise BadConfig(f"tau must be below 1, or e^-z grows without bound, got {tau:g}")
    return Loss(
        name=f"discopop({tau:g})",
        value=partial(_mixed, tau=tau),
        source="lu:24 sec. 4",
        formula=f"s(-z/{tau})·-log(s(z)) + s(z/{tau})·exp(-z)",
    )
