"""DPO whose implicit rewards have a scale."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def cal_dpo(beta: float = 0.001, weight: float = 0.5) -> Method:
    """-log sigmoid(u_w - u_l) + weight·[(u_w - 1/(2·beta))² + (u_l + 1/(2·beta))²] per pair.

    u = log policy - log reference (nats), without beta in the logistic part. The squares hold the
    rewards themselves, not just their difference: u_w near 1/(2·beta), u_l near its negative. weight
    > 0: ½ in the authors' code.

    Errors: BadConfig unless both are finite and above 0. Source: xiao:24.

    >>> [summand.name for summand in cal_dpo().also]
    ['chosen_calibration', 'rejected_calibration']
    """
    goal = 0.5 / positive("beta", beta)
    chosen = Summand(
        name="chosen_calibration",
        margin=replace(margins.chosen_log_ratio, constant=goal),
        loss=losses.squared(),
        coefficient=positive("weight", weight),
    )
    rejected = replace(
        chosen,
        name="rejected_calibration",
        margin=replace(margins.rejected_log_ratio, constant=-goal),
    )
    return replace(
        dpo(1.0), name="cal_dpo", also=(chosen, rejected), source="xiao:24", optimum=None
    )
