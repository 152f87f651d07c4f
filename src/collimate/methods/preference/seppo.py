"""Semi-policy preference optimisation: an earlier policy's answer is pushed away, or pulled."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def seppo(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(u_w - c·u_l)) per pair, c = sign of u_w without gradient (1 at 0).

    u = log policy - log reference (nats), the reference an earlier checkpoint that wrote y_l. Where the
    policy already fits y_w better than the reference, y_l is pushed away (c = 1), else pulled.

    Errors: BadConfig unless beta is finite and above 0. Source: zhang:24.

    >>> seppo().margin.name
    'anchored_log_ratio_gap'
    """
    margin = margins.anchored_log_ratio_gap
    return replace(dpo(beta), name="seppo", margin=margin, source="zhang:24", optimum=None)
