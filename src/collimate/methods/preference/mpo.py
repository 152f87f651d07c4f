"""Mixed preference optimisation: preference, quality and generation together."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def mpo(beta: float = 0.1, w_p: float = 0.8, w_q: float = 0.2, w_g: float = 1.0) -> Method:
    """w_p·DPO + w_q·BCO of both answers + w_g·(-log p(y_w)/|y_w|) per pair.

    BCO is -log sigmoid(beta·u_w - d) - log sigmoid(d - beta·u_l), d as in `bco`, over the step. u = log
    policy - log reference (nats). TRL's mixture of `sigmoid`, `bco_pair` and `sft` has d = 0, and its
    likelihood is a mean over the tokens of a micro-batch.

    Errors: BadConfig unless all are finite and above 0; BadComposition without lengths. Source: wang:24c.

    >>> [summand.name for summand in mpo().also]
    ['quality_chosen', 'quality_rejected', 'generation']
    """
    quality = Summand(
        name="quality_chosen",
        margin=margins.chosen_shifted_log_ratio,
        loss=losses.logistic,
        coefficient=positive("w_q", w_q),
    )
    likelihood = Summand(
        name="generation",
        margin=margins.chosen_mean_log_prob,
        loss=losses.negation,
        coefficient=positive("w_g", w_g),
        beta=1.0,
    )
    rejected = replace(quality, name="quality_rejected", margin=margins.rejected_shifted_log_ratio)
    return replace(
        dpo(beta),
        name="mpo",
        coefficient=positive("w_p", w_p),
        also=(quality, rejected, likelihood),
        source="wang:24c",
        optimum=None,
    )
