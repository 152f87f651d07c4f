"""DPO with an offset from scores."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def odpo(beta: float = 0.1, alpha: float = 1.0) -> Method:
    """-log sigmoid(beta·(u_w - u_l) - alpha·log(R_w - R_l)) per pair, R_w - R_l the column `margin`.

    u = log policy - log reference (nats). The better the chosen answer was judged to be, the further
    ahead it must come. alpha > 0.

    Errors: BadConfig unless both are finite and above 0; BadComposition without the column, or at a
    margin of 0 or less. Source: amini:24.

    >>> odpo().margin.name
    'log_ratio_gap'
    """
    margin = replace(margins.log_ratio_gap, target_of=margins.log_score_target(alpha))
    return replace(dpo(beta), name="odpo", margin=margin, source="amini:24", optimum=None)
