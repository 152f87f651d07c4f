"""Anchored preference optimisation of labelled answers."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method
from collimate.methods.preference.apo_zero import apo_zero
from collimate.methods.preference.kto import kto


def apo_zero_unpaired(beta: float = 0.1) -> Method:
    """1 - sigmoid(beta·u) per wanted answer, sigmoid(beta·u) per unwanted one.

    u = log policy - log reference (nats). `apo_zero` without pairs, as TRL's KTO trainer offers it; of
    pairs read as two labelled answers it has the same population optimum.

    Errors: BadConfig unless beta is finite and above 0. Source: doosterlinck:25.

    >>> apo_zero_unpaired().margin.name
    'labelled_log_ratio'
    """
    return replace(
        kto(beta),
        name="apo_zero_unpaired",
        margin=margins.labelled_log_ratio,
        loss=losses.sigmoid,
        factor=None,
        source="doosterlinck:25",
        optimum=apo_zero(beta).population_optimum,
    )
