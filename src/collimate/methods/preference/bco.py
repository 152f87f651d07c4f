"""Binary classifier optimisation of labelled answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate._root import rising_inverse, root
from collimate._types import ThumbLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.lab import World
from collimate.methods.preference.kto import kto

_LEAST, _MOST = 0.5, 10.0  # bounds of the density ratio, as in the paper's code


def _density_ratio(view: ThumbLogProbs, state: State) -> Float[Tensor, " answer"]:
    ratio = view.columns.get("density_ratio")
    if ratio is None:
        return torch.ones_like(view.policy)
    return torch.where(view.label > 0, 1.0, ratio.clamp(_LEAST, _MOST)).to(view.policy.dtype)


def bco(beta: float = 0.1) -> Method:
    """-log sigmoid(r - d) per wanted answer, -w(x)·log sigmoid(d - r) per unwanted one, r = beta·u.

    u = log policy - log reference (nats); d = ½(mean r of wanted + mean r of unwanted answers),
    without gradient, over the step. w(x) = P(wanted|x)/P(unwanted|x) is the column `density_ratio`
    where the data has it, within [0.5, 10], else 1: `diagnostics.density_ratio` fits it to features of
    the prompts. The mean runs over all answers, as in its code; the paper's two expectations are twice
    that where both labels are as frequent. Pairs are read as two labelled answers of one step. TRL's
    `bco_pair` has neither d nor w. But for the normaliser, the population optimum without the column is
    beta·(u - d) = log of how often an answer is wanted to how often it is not; exact for one context in
    which KL(wanted‖unwanted) is not below KL(unwanted‖wanted).

    Errors: BadConfig unless beta is finite and above 0. Source: jung:25.

    >>> bco().margin.name
    'shifted_log_ratio'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        return _balance(world.reference_log_probs, labels.sum(-1), labels.sum(-2), beta)

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


def _balance(
    log_q: Float[Tensor, "context response"],
    won: Float[Tensor, "context response"],
    lost: Float[Tensor, "context response"],
    beta: float,
) -> Float[Tensor, "context response"] | None:
    """Log p of one context with won·sigmoid(-beta·v) - lost·sigmoid(beta·v) = κ·p, v = u - d.

    d is the mean of u where that of v is 0; v falls with κ >= 0, so one κ fits. A κ below 0 puts every v
    above log(won/lost)/beta: none fits where the mean of that, (KL(won‖lost) - KL(lost‖won))/(2·beta), is
    not negative. None where it is, and for several contexts, which share d.
    """
    share = (won + lost) / 2

    def ratios(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context response"]:
        log_kappa_q = kappa.log() + log_q
        return rising_inverse(
            lambda v: (
                (log_kappa_q + v).exp()
                - won * torch.sigmoid(-beta * v)
                + lost * torch.sigmoid(beta * v)
            ),
            torch.zeros_like(log_q),
        )

    def below(kappa: Float[Tensor, "context 1"]) -> Float[Tensor, "context 1"]:
        v = torch.where(share > 0, ratios(kappa), 0.0)
        return -(share * v).sum(-1, keepdim=True)

    zero = torch.zeros_like(log_q[:, :1])
    if len(log_q) > 1 or (below(zero) > 0).any():
        return None
    return torch.log_softmax(log_q + ratios(root(below, zero, 1e-14)), dim=-1)
