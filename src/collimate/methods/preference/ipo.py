"""Identity preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def ipo(beta: float = 0.1) -> Method:
    """IPO: (h - 1/(2·beta))² per pair, h = u_w - u_l over whole answers (sums, as in the paper).

    u = log policy - log reference (nats). beta > 0 is the paper's tau. The population optimum is
    the least-squares fit of u to the preferences over the pairs that are drawn; with y, y' drawn
    independently from mu it is q·exp(E_{y'~mu} P(y ≻ y') / beta)/Z.

    Errors: BadConfig unless beta is finite and above 0. Source: azar:24 eq. 17.

    >>> ipo(0.1).margin.constant
    0.5
    """
    return replace(
        dpo(beta),
        name="ipo",
        margin=replace(margins.log_ratio_gap, constant=0.5),
        loss=losses.squared(unit=beta),
        source="azar:24 eq. 17",
        optimum=lambda world: world.regression_optimum(beta),
    )
