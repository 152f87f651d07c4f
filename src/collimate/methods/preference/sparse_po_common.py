"""Sparse preference optimisation with one learned token mask."""

from __future__ import annotations

from collimate.compose import Method
from collimate.margins import TokenMask
from collimate.methods.preference._masked import masked, sparse
from collimate.token_masks import sparse_mask


def sparse_po_common(beta: float = 0.1, l1: float = 0.001) -> Method:
    """`sparse_po` with one mask m for reward and KL: the L1 norm counts it once.

    -log sigmoid(beta·(Σ_w m·(u + d) - Σ_l m·(u + d))) + l1·Σ m per pair, u the token's log-ratio and
    d = KL(q‖p) over the vocabulary there (nats).

    Errors: BadConfig unless beta is above 0 and l1 at least 0, both finite. Source: christopoulou:25.

    >>> sparse_po_common().margin.name
    'masked_log_ratio_gap(forward_kl_to_reference, mask, mask)'
    """
    mask = TokenMask(sparse_mask("mask"), "m_i")
    return sparse(masked("sparse_po_common", beta, mask, mask), l1, mask)
