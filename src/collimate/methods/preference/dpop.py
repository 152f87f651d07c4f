"""DPO-Positive: the chosen answer may not fall below its reference."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def dpop(beta: float = 0.1, lam: float = 50.0) -> Method:
    """-log sigmoid(beta·(u_w - u_l - lam·max(0, -u_w))) per pair; also known as Smaug.

    u = log policy - log reference (nats). lam >= 0.

    Errors: BadConfig unless beta is finite and above 0, lam finite and at least 0. Source: pal:24
    eq. 3.

    >>> dpop().margin.name
    'penalised_log_ratio_gap(50)'
    """
    return replace(
        dpo(beta),
        name="dpop",
        margin=margins.penalised_log_ratio_gap(lam),
        source="pal:24",
        optimum=None,
    )
