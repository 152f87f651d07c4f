"""IPO on log-ratios per token."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def ipo_length_normalised(beta: float = 0.1) -> Method:
    """(u_w/|y_w| - u_l/|y_l| - 1/(2·beta))² per pair, |y| answer tokens.

    u = log policy - log reference (nats). What TRL, HALOs and LLaMA-Factory call `ipo`; the paper's
    loss has sums (`ipo`). beta > 0 is per token.

    Errors: BadConfig unless beta is finite and above 0; BadComposition without lengths. Source:
    azar:24 eq. 17, with the mean over tokens of its public implementations.

    >>> ipo_length_normalised(0.1).margin.name
    'length_normalised_log_ratio_gap'
    """
    return replace(
        dpo(beta),
        name="ipo_length_normalised",
        margin=replace(margins.length_normalised_log_ratio_gap, constant=0.5),
        loss=losses.squared(unit=beta),
        source="azar:24 eq. 17",
        optimum=None,
    )
