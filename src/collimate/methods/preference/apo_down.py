"""Anchored preference optimisation, for chosen answers worse than the policy's own."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def apo_down(beta: float = 0.1) -> Method:
    """sigmoid(beta·u_w) - sigmoid(beta·(u_w - u_l)) per pair: both down, the rejected one further.

    u = log policy - log reference (nats). For chosen answers that are worse than what the policy
    writes. Its gradient on u_w is 0 at p = q. TRL adds 1.

    Errors: BadConfig unless beta is finite and above 0. Source: doosterlinck:25.

    >>> apo_down().margin.name
    'log_ratio_gap'
    """
    anchor = Summand(
        name="chosen",
        margin=margins.chosen_log_ratio,
        loss=losses.negated_sigmoid,
        coefficient=-1.0,
    )
    return replace(
        dpo(beta),
        name="apo_down",
        loss=losses.negated_sigmoid,
        also=(anchor,),
        source="doosterlinck:25",
        optimum=None,
    )
