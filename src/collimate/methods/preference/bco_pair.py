"""Binary classifier optimisation on the two answers of a pair."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def bco_pair(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·u_w) - log sigmoid(-beta·u_l) per pair: each answer classified by itself.

    u = log policy - log reference (nats). An upper bound of DPO's loss; neither the paper's shift nor
    its weights by density ratio (`bco`), as in TRL's `bco_pair`.

    Errors: BadConfig unless beta is finite and above 0. Source: jung:25.

    >>> bco_pair().also[0].name
    'rejected'
    """
    down = Summand(
        name="rejected", margin=margins.rejected_log_ratio, loss=losses.logistic, beta=-beta
    )
    return replace(
        dpo(beta),
        name="bco_pair",
        margin=margins.chosen_log_ratio,
        also=(down,),
        source="jung:25",
        optimum=None,
    )
