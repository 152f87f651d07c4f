"""DPO that asks longer answers for less."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import divergences, margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def r_dpo(beta: float = 0.1, alpha: float = 0.01) -> Method:
    """-log sigmoid(beta·(u_w - u_l) + alpha·(|y_w| - |y_l|)) per pair, |y| answer tokens.

    u = log policy - log reference (nats). A reward of r - alpha·|y| is what is optimised: the length of
    a chosen answer explains part of its win, and only the rest is learnt; with Bradley-Terry
    preferences the population optimum is q·exp((r - alpha·|y|)/beta)/Z. alpha > 0.

    Errors: BadConfig unless both are finite and above 0; BadComposition without lengths. Source:
    park:24.

    >>> r_dpo().margin.name
    'log_ratio_gap'
    """
    margin = replace(margins.log_ratio_gap, target_of=margins.length_target(alpha))

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        strengths = world.strengths()
        if strengths is None:
            return None
        return world.optimum(divergences.reverse_kl, beta, strengths - alpha * world.lengths())

    return replace(dpo(beta), name="r_dpo", margin=margin, source="park:24", optimum=optimum)
