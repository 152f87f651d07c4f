"""DPO of rankings."""

from __future__ import annotations

from dataclasses import replace

from collimate import distributions, losses, margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def plackett_luce(beta: float = 0.1) -> Method:
    """Σ_k [log Σ_{j>=k} e^{beta·u_j} - beta·u_k] per list, answers in order of score, best first.

    u = log policy - log reference (nats). Of two answers it is DPO. Equal scores within a list are
    refused; pairs are read as lists of two.

    Errors: BadConfig unless beta is finite and above 0. Source: rafailov:23 app. A.3.

    >>> plackett_luce().needs.view
    'lists'
    """
    return replace(
        dpo(beta),
        name="plackett_luce",
        distribution=distributions.offline_lists(),
        margin=margins.ranked_log_ratios,
        loss=losses.plackett_luce,
        source="rafailov:23 app. A.3",
        optimum=None,
    )
