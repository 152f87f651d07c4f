"""The f-DPO paper's Jensen-Shannon."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences
from collimate._checks import positive
from collimate.compose import Method
from collimate.methods.preference.f_dpo import f_dpo


def f_dpo_js(beta: float = 0.1) -> Method:
    """The f-DPO paper's Jensen-Shannon loss at beta: `f_dpo(2·beta, jensen_shannon)`.

    The paper's divergence is twice the standard one (at most log 4), so its loss at beta is ours at
    2·beta: -log sigmoid(beta·(log sigmoid(u_w) - log sigmoid(u_l))) per pair.

    Errors: BadConfig unless beta is finite and above 0. Source: wang:24 table 1.

    >>> f_dpo_js(0.1).tradeoff.name
    'fixed(0.2)'
    """
    method = f_dpo(2 * positive("beta", beta), divergences.jensen_shannon)
    return replace(method, name="f_dpo_js", source="wang:24 table 1")
