"""Odds ratio preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference._reference_free import reference_free


def orpo(lam: float = 0.1) -> Method:
    """-L_w - lam·log sigmoid(o_w - o_l) per pair, L = log p(y)/|y|, o = L - log(1 - e^L).

    Fine-tuning on the chosen answer and the log odds ratio of both; no reference, lam > 0. TRL calls
    lam `beta` and lets the likelihood run over the prompt too.

    Errors: BadConfig unless lam is finite and above 0; BadComposition without lengths. Source:
    hong:24.

    >>> orpo(0.2).also[0].coefficient
    0.2
    """
    odds = Summand(
        name="odds_ratio",
        margin=margins.log_odds_gap,
        loss=losses.logistic,
        coefficient=positive("lam", lam),
    )
    method = reference_free("orpo", margins.chosen_mean_log_prob, beta=1.0, source="hong:24")
    return replace(method, loss=losses.negation, also=(odds,))
