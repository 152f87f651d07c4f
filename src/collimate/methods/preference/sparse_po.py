"""Sparse preference optimisation with learned token masks."""

from __future__ import annotations

from collimate.compose import Method
from collimate.margins import TokenMask
from collimate.methods.preference._masked import masked, sparse
from collimate.token_masks import sparse_mask


def sparse_po(beta: float = 0.1, l1: float = 0.001) -> Method:
    """-log sigmoid(beta·(U_w - U_l - (D_l - D_w))) + l1·Σ (m + k) per pair, over both answers' tokens.

    U(y) = Σ_t m_t·u_t, u the token's log-ratio; D(y) = Σ_t k_t·KL(q‖p) over the vocabulary at t
    (nats), with gradient. The masks m of the reward and k of the KL are learned with the policy: two
    `token_masks.SparseMask`s of the reference's hidden states, >= 0. Both 1: `tdpo1`. One mask for
    both: `sparse_po_common`. Keeps the reference as a model in memory; the default l1 is ours.

    Errors: BadConfig unless beta is above 0 and l1 at least 0, both finite. Source: christopoulou:25.

    >>> [signal.name for signal in sparse_po().needs.signals]
    ['forward_kl_to_reference', 'reward_mask', 'kl_mask']
    """
    reward = TokenMask(sparse_mask("reward_mask"), "m_i")
    penalty = TokenMask(sparse_mask("kl_mask"), "k_i")
    return sparse(masked("sparse_po", beta, reward, penalty), l1, reward, penalty)
