"""Binary classifier optimisation of labelled answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate._types import ThumbLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.lab import World
from collimate.methods.preference._shifted_balance import shifted_balance
from collimate.methods.preference.kto import kto

_LEAST, _MOST = 0.5, 10.0  # bounds of the density ratio, as in the paper's code


def _density_ratio(view: ThumbLogProbs, state: State) -> Float[Tensor, " answer"]:
    ratio = view.columns.get("density_ratio", torch.ones_like(view.policy))
    return torch.where(view.label > 0, 1.0, ratio.clamp(_LEAST, _MOST)).to(view.policy.dtype)


def bco(beta: float = 0.1) -> Method:
    """-log sigmoid(r - d) per wanted answer, -w(x)·log sigmoid(d - r) per unwanted one, r = beta·u.

    u = log policy - log reference (nats); d = ½(mean r of wanted + mean r of unwanted answers),
    without gradient, over the step. w(x) = P(wanted|x)/P(unwanted|x) is the column `density_ratio`
    where the data has it, within [0.5, 10], else 1 (see `diagnostics.density_ratio`). The mean runs over
    all answers, as in its code; the paper's two expectations are twice that where both labels are as
    frequent. TRL's `bco_pair` has neither d nor w. Without the column the population optimum is
    beta·(u - d) = log(wanted/unwanted) of each answer, but for the normaliser: exact for one context
    where KL(wanted‖unwanted) >= KL(unwanted‖wanted).

    Errors: BadConfig unless beta is finite and above 0. Source: jung:25.

    >>> bco().margin.name
    'shifted_log_ratio'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        return shifted_balance(world.reference_log_probs, labels.sum(-1), labels.sum(-2), beta)

    return replace(
        kto(beta),
        name="bco",
        margin=margins.shifted_log_ratio,
        loss=losses.logistic,
        factor=Factor(
            value=_density_ratio,
            formula=f"where(y > 0, 1, min(max(density_ratio, {_LEAST}), {_MOST}))",
        ),
        source="jung:25",
        optimum=optimum,
    )
