"""Preference optimisation with token masks from the reference's activations."""

from __future__ import annotations

from collimate.compose import Method
from collimate.margins import TokenMask
from collimate.methods.preference._masked import masked
from collimate.token_masks import activation_mask


def mapo(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(Σ_w m·(u + d) - Σ_l m·(u + d))) per pair: a mask that nobody learns.

    u the token's log-ratio, d = KL(q‖p) over the vocabulary there (nats), m in [0, 1] how strong the
    reference's hidden states are at the token among those of its answer: `token_masks.ActivationMask`.
    Keeps the reference as a model in memory.

    Errors: BadConfig unless beta is finite and above 0. Source: christopoulou:25.

    >>> [signal.name for signal in mapo().needs.signals]
    ['forward_kl_to_reference', 'activation_mask']
    """
    mask = TokenMask(activation_mask, "a_i")
    return masked("mapo", beta, mask, mask)
