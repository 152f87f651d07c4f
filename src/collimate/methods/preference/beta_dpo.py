"""DPO with a beta that each step sets."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import tradeoffs
from collimate._steps import mean, weights
from collimate._types import PairLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.methods.preference.dpo import dpo


def beta_dpo(
    beta: float = 0.1, a: float = 0.6, share: float = 0.8, momentum: float = 0.9
) -> Method:
    """-log sigmoid(b·(u_w - u_l)) per kept pair, b = max(0.001, beta·(1 + a·(M - M0))) of each step.

    u = log policy - log reference (nats). M, M0 and which `share` of the pairs is kept:
    `tradeoffs.batch_adaptive`; the mean runs over kept pairs. Defined over the step, with running
    statistics as state; which pairs are kept is drawn from the run's seed. The first step is DPO at
    beta, and so is the held-out loss, before training and after: of all pairs, none left out.

    Errors: BadConfig unless beta is above 0, a at least 0, share in (0, 1], momentum in [0, 1]. Source:
    wu:24 (a from its code).

    >>> beta_dpo().tradeoff.name
    'batch_adaptive(0.1, 0.6)'
    """
    tradeoff = tradeoffs.batch_adaptive(beta, a, share=share, momentum=momentum)

    def kept(view: PairLogProbs, state: State) -> Float[Tensor, " pair"]:
        mask = tradeoff.kept(view, state).to(view.policy_chosen.dtype)
        return mask / mean(mask, weights(view.columns, mask))

    factor = Factor(value=kept, formula="kept", couples="batch")
    return replace(
        dpo(beta), name="beta_dpo", tradeoff=tradeoff, factor=factor, source="wu:24", optimum=None
    )
