"""Self-play preference optimisation with hard win rates."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def sppo_hard(beta: float = 0.001) -> Method:
    """(u_w - 1/(2·beta))² + (u_l + 1/(2·beta))² per pair.

    u = log policy - log reference (nats); in the paper the reference is the previous iterate and the
    targets (P - ½)/beta, P an estimated win rate: hard means P = 1 and 0. Its authors' code halves
    the sum. beta > 0 is the paper's 1/eta.

    Errors: BadConfig unless beta is finite and above 0. Source: wu:25.

    >>> sppo_hard(0.01).margin.constant
    0.5
    """
    rejected = Summand(
        name="rejected",
        margin=replace(margins.rejected_log_ratio, constant=-0.5),
        loss=losses.squared(unit=positive("beta", beta)),
    )
    return replace(
        dpo(beta),
        name="sppo_hard",
        margin=replace(margins.chosen_log_ratio, constant=0.5),
        loss=rejected.loss,
        also=(rejected,),
        source="wu:25",
        optimum=None,
    )
