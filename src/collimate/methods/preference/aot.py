"""Alignment by optimal transport: stochastic dominance of rewards."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate.compose import Method
from collimate.methods.preference.dpo import dpo


def aot(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·d_(i)), d = sort(log p_w - log p_l) - sort(log q_w - log q_l) over a step.

    Whole answers (nats). The policy's gaps between chosen and rejected are to exceed the reference's
    in every quantile. Defined over the step (`batch_size`), whatever its micro-batches; TRL sorts each
    micro-batch by itself, so that of one pair it is DPO.

    Errors: BadConfig unless beta is finite and above 0; BadComposition for data whose weights differ:
    sorting mixes the pairs. Source: melnyk:24.

    >>> aot().needs.couples
    'batch'
    """
    return replace(
        dpo(beta), name="aot", margin=margins.sorted_gap, source="melnyk:24", optimum=None
    )
