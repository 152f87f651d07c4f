"""Contrastive preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference._reference_free import reference_free


def cpo(beta: float = 0.1, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(log p(y_w) - log p(y_l))) - alpha·log p(y_w) per pair, whole answers (nats).

    DPO with a uniform reference, and the likelihood of the chosen answer; the paper's alpha is 1.
    TRL takes that likelihood's mean over the tokens of a micro-batch.

    Errors: BadConfig unless both are finite and above 0. Source: xu:24.

    >>> cpo().also[0].name
    'nll'
    """
    likelihood = Summand(
        name="nll",
        margin=margins.chosen_log_prob,
        loss=losses.negation,
        coefficient=positive("alpha", alpha),
        beta=1.0,
    )
    method = reference_free("cpo", margins.log_prob_gap, beta=beta, source="xu:24")
    return replace(method, also=(likelihood,))
