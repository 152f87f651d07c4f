"""TRL's name of DPO on log-ratios per token."""

from __future__ import annotations

from dataclasses import replace

from collimate.compose import Method
from collimate.methods.preference.ln_dpo import ln_dpo


def sigmoid_norm(beta: float = 2.0) -> Method:
    """`ln_dpo` under the name that TRL gives it.

    >>> sigmoid_norm().name
    'sigmoid_norm'
    """
    return replace(ln_dpo(beta), name="sigmoid_norm")
