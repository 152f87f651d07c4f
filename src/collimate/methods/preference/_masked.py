"""Methods in which masks say how much each token's reward and divergence count."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences, losses, margins
from collimate._checks import at_least_zero
from collimate.compose import Method, Summand
from collimate.margins import TokenMask
from collimate.methods.preference.dpo import dpo
from collimate.signals import divergence_to_reference


def masked(name: str, beta: float, reward: TokenMask, penalty: TokenMask) -> Method:
    """-log sigmoid(beta·(Σ_w (m·u + k·d) - Σ_l (m·u + k·d))): m, k the masks, d = KL(q‖p) at a token."""
    along = divergence_to_reference(divergences.forward_kl)
    margin = margins.masked_log_ratio_gap(along, reward, penalty)
    return replace(dpo(beta), name=name, margin=margin, source="christopoulou:25", optimum=None)


def sparse(method: Method, l1: float, *masks: TokenMask) -> Method:
    """The method, and l1·Σ (masks) over the tokens of both answers. Errors: BadConfig for l1 below 0."""
    norm = Summand(
        name="mask",
        margin=margins.absent_mask(*masks),
        loss=losses.negation,
        coefficient=at_least_zero("l1", l1),
        beta=1.0,
    )
    return replace(method, also=(norm,))
