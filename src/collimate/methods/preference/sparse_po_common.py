"""Sparse preference optimisation with one learned token mask."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences, losses, margins
from collimate._checks import at_least_zero
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo
from collimate.signals import divergence_to_reference
from collimate.token_masks import sparse_mask


def sparse_po_common(beta: float = 0.1, l1: float = 0.001) -> Method:
    """`sparse_po` with one mask m for reward and KL: the L1 norm counts it once.

    -log sigmoid(beta·(Σ_w m·(u + d) - Σ_l m·(u + d))) + l1·Σ m per pair, u the token's log-ratio and
    d = KL(q‖p) over the vocabulary there (nats).

    Errors: BadConfig unless beta is above 0 and l1 at least 0, both finite. Source: christopoulou:25.

    >>> sparse_po_common().margin.name
    'masked_log_ratio_gap(forward_kl_to_reference, mask, mask)'
    """
    along = divergence_to_reference(divergences.forward_kl)
    mask = margins.TokenMask(sparse_mask("mask"), "m_i")
    return replace(
        dpo(beta),
        name="sparse_po_common",
        margin=margins.masked_log_ratio_gap(along, mask, mask),
        also=(
            Summand(
                name="mask",
                margin=margins.absent_mask(mask),
                loss=losses.negation,
                coefficient=at_least_zero("l1", l1),
                beta=1.0,
            ),
        ),
        source="christopoulou:25",
        optimum=None,
    )
