"""Triple preference optimisation: a pair and a gold answer."""

from __future__ import annotations

from dataclasses import replace

from collimate import distributions, losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference._reference_free import reference_free


def tpo(beta: float = 0.01, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(log p(y_w) - log p(y_l))) - alpha·log p(y_gold) per row, whole answers (nats).

    No reference. The gold answer is the column `gold` (or `reference`, as TRL calls it). TRL takes its
    likelihood's mean over the tokens of a micro-batch.

    Errors: BadConfig unless both are finite and above 0. Source: saeidi:25.

    >>> tpo().needs.gold
    True
    """
    likelihood = Summand(
        name="gold",
        margin=margins.gold_log_prob,
        loss=losses.negation,
        coefficient=positive("alpha", alpha),
        beta=1.0,
    )
    method = reference_free("tpo", margins.log_prob_gap, beta=beta, source="saeidi:25")
    return replace(method, distribution=distributions.offline_triples(), also=(likelihood,))
