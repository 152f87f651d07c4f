"""Conservative DPO: label smoothing."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def cdpo(beta: float = 0.1, label_smoothing: float = 0.1) -> Method:
    """DPO with smoothed labels: (1-e)·(-log sigmoid(z)) + e·(-log sigmoid(-z)), z = beta·(u_w - u_l).

    e = label_smoothing in (0, ½) is the share of labels believed wrong. The minimum is at a finite
    margin z = log((1-e)/e); the population optimum has no closed form.

    Errors: BadConfig outside the domains. Source: mitchell:23.

    >>> cdpo(0.1, 0.2).loss.name
    'smoothed_logistic(0.2)'
    """
    return replace(
        dpo(beta),
        name="cdpo",
        loss=losses.smoothed_logistic(label_smoothing),
        source="mitchell:23",
        optimum=None,
    )
