"""Preference optimisation with token masks from the reference's activations."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences, margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo
from collimate.signals import divergence_to_reference
from collimate.token_masks import activation


def mapo(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(Σ_w m·(u + d) - Σ_l m·(u + d))) per pair: a mask that nobody learns.

    u the token's log-ratio, d = KL(q‖p) over the vocabulary there (nats). m_t = a_t / mean of a over
    the answer, a the strength of the reference's hidden states at t (`token_masks.Activation`): 1 for
    each token where they are even. The paper standardises activations; its exact form is not public
    in a way we could check, so this one, which is positive and averages 1, is ours.

    Errors: BadConfig unless beta is finite and above 0. Source: christopoulou:25.

    >>> [signal.name for signal in mapo().needs.signals]
    ['forward_kl_to_reference', 'activation']
    """
    along = divergence_to_reference(divergences.forward_kl)
    mask = margins.TokenMask(activation, "a_i", margins.over_its_mean)
    margin = margins.masked_log_ratio_gap(along, mask, mask)
    return replace(dpo(beta), name="mapo", margin=margin, source="christopoulou:25", optimum=None)
