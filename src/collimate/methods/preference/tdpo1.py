"""Token-level DPO in its first version."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import divergences, margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo
from collimate.signals import divergence_to_reference


def tdpo1(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(u_w - u_l - (K_l - K_w))) per pair, gradient through both K.

    u and K as in `tdpo`. The closed form of the token-level optimum: beta·(u + K) sums its advantages.
    Where each answer is one token, both K are the same: DPO.

    Errors: BadConfig unless beta is finite and above 0. Source: zeng:24.

    >>> tdpo1().margin.name
    'sequential_kl_gap(forward_kl_to_reference, 1)'
    """
    along = divergence_to_reference(divergences.forward_kl)
    margin = margins.sequential_kl_gap(along)
    whole = dpo(beta)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        return whole.population_optimum(world) if (world.lengths() == 1).all() else None

    return replace(whole, name="tdpo1", margin=margin, source="zeng:24", optimum=optimum)
