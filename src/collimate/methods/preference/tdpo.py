"""Token-level DPO: the KL along both answers counts."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences, margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo
from collimate.signals import divergence_to_reference


def tdpo(beta: float = 0.1, alpha: float = 0.5) -> Method:
    """-log sigmoid(beta·(u_w - u_l - alpha·(K_l - sg K_w))) per pair: the paper's TDPO2.

    u = log policy - log reference; K(y) = Σ_t KL(q‖p) at each token of y over the whole vocabulary
    (nats): the rejected answer's weighs, the chosen one's takes no gradient (sg). `tdpo1` is the
    first version. Keeps the reference as a model in memory.

    Errors: BadConfig unless beta is above 0 and alpha at least 0, both finite. Source: zeng:24.

    >>> tdpo().needs.signals[0].name
    'forward_kl_to_reference'
    """
    along = divergence_to_reference(divergences.forward_kl)
    margin = margins.sequential_kl_gap(along, alpha, stopped=True)
    return replace(dpo(beta), name="tdpo", margin=margin, source="zeng:24", optimum=None)
