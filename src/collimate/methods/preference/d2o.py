"""Distributional dispreference optimisation: one negative against several answers."""

from __future__ import annotations

from dataclasses import replace

from collimate import distributions, margins
from collimate._checks import positive
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def d2o(beta: float = 0.1, alpha: float = 0.1) -> Method:
    """-log sigmoid((beta/K)·Σ_i u_i - alpha·u_l) per list: K answers together against the worst one.

    u = log policy - log reference (nats). The worst-scored answer is the human negative y_l, the others
    were drawn from the model before training. The paper compares the two sides with two references;
    here both are the one that is given.

    Errors: BadConfig unless both are finite and above 0. Source: duan:24.

    >>> d2o(0.1, 0.2).margin.name
    'mean_over_worst_log_ratio_gap(2)'
    """
    weight = positive("alpha", alpha) / positive("beta", beta)
    return replace(
        dpo(beta),
        name="d2o",
        distribution=distributions.offline_lists(),
        margin=margins.mean_over_worst_log_ratio_gap(weight),
        source="duan:24",
        optimum=None,
    )
