"""Alignment by optimal transport, of two samples that are not paired."""

from __future__ import annotations

from dataclasses import replace

from collimate import margins
from collimate.compose import Method
from collimate.methods.preference.aot import aot


def aot_unpaired(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(sort(u_w)_(i) - sort(u_l)_(i))) over a step, u = log policy - log reference.

    Chosen answers' rewards are to exceed rejected ones' in every quantile; the prompts need not be the
    same, so pairs serve as two samples of one size. Defined over the step.

    Errors: BadConfig unless beta is finite and above 0; BadComposition for data whose weights differ.
    Source: melnyk:24.

    >>> aot_unpaired().margin.name
    'sorted_log_ratio_gap'
    """
    return replace(aot(beta), name="aot_unpaired", margin=margins.sorted_log_ratio_gap)
