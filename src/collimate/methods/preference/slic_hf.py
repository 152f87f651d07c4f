"""Sequence likelihood calibration from human feedback."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference._reference_free import reference_free


def slic_hf(delta: float = 1.0, reg: float = 0.01) -> Method:
    """max(0, delta - log p(y_w) + log p(y_l)) - reg·log p(y_w) per pair, whole answers (nats).

    The paper's regularisation target is taken to be the chosen answer. No reference and no beta;
    TRL's `hinge` is `hinge_norm`.

    Errors: BadConfig unless delta and reg are finite and above 0. Source: zhao:23.

    >>> slic_hf().margin.constant
    0.0
    """
    gap = replace(margins.log_prob_gap, constant=positive("delta", delta) - 1)  # max(0, 1 - z)
    likelihood = Summand(
        name="nll",
        margin=margins.chosen_log_prob,
        loss=losses.negation,
        coefficient=positive("reg", reg),
    )
    method = reference_free("slic_hf", gap, beta=1.0, source="zhao:23")
    return replace(method, loss=losses.hinge, also=(likelihood,))
