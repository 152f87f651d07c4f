"""Triple preference optimisation: a pair and a gold answer."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import distributions, losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.lab import World, gold_law
from collimate.methods.preference._reference_free import reference_free
from collimate.methods.preference.cpl import cpl


def tpo(beta: float = 0.01, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(log p(y_w) - log p(y_l))) - alpha·log p(y_gold) per row, whole answers (nats).

    No reference. The gold answer is the column `gold` (or `reference`, as TRL calls it). TRL takes its
    likelihood's mean over the tokens of a micro-batch. The population optimum is known where gold
    answers have the law that the pairs by themselves lead to, exp(r/beta)/Z for Bradley-Terry labels.

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
    pairs = cpl(beta)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        return where_gold_agrees(world, pairs.population_optimum(world))

    method = reference_free("tpo", margins.log_prob_gap, beta=beta, source="saeidi:25")
    triples = distributions.offline_triples()
    return replace(method, distribution=triples, also=(likelihood,), optimum=optimum)


def where_gold_agrees(
    world: World, log_probs: Float[Tensor, "context response"] | None
) -> Float[Tensor, "context response"] | None:
    """log_probs, if it is the law of the gold answers too (1e-9): both losses are least there."""
    if log_probs is None or (log_probs.exp() - gold_law(world)).abs().max() > 1e-9:
        return None
    return log_probs
