"""Gaps of the policy's own log-probs: no reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import BadConfig
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins._pairs import mean_log_probs
from collimate.margins.log_ratio_gap import LINEAR_BEYOND
from collimate.margins.margin import Margin

_ALONE = Needs(view="pairs", reference=False)


def _gap(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    return view.policy_chosen - view.policy_rejected


def _mean_gap(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    chosen, rejected = mean_log_probs(view)
    return chosen - rejected


def _bent_gap(view: PairLogProbs, divergence: Divergence, *, a: float) -> Float[Tensor, " pair"]:
    chosen, rejected = mean_log_probs(view)
    return (_bent(-a * rejected) - _bent(-a * chosen)) / a


def _bent(x: Float[Tensor, " pair"]) -> Float[Tensor, " pair"]:
    """e^x - 1, continued linearly (value and slope) beyond 60, where it would overflow."""
    beyond = (x - LINEAR_BEYOND).relu()
    return torch.expm1(x.clamp(max=LINEAR_BEYOND)) + math.exp(LINEAR_BEYOND) * beyond


def _bent_facts(
    view: PairLogProbs, divergence: Divergence, *, a: float
) -> Mapping[str, Bool[Tensor, " pair"]]:
    both = torch.stack(mean_log_probs(view))
    return {"linear_continuation": (-a * both > LINEAR_BEYOND).any(0)}


log_prob_gap = Margin(
    name="log_prob_gap", value=_gap, needs=_ALONE, source="xu:24", formula="l_w - l_l"
)
"""h = log p(y_w) - log p(y_l), whole answers (nats): DPO's with a uniform reference.

Law: swapping chosen and rejected flips the sign of h. Source: xu:24.
"""

mean_log_prob_gap = Margin(
    name="mean_log_prob_gap",
    value=_mean_gap,
    needs=_ALONE,
    source="meng:24",
    formula="l_w/n_w - l_l/n_l",
)
"""h = log p(y_w)/|y_w| - log p(y_l)/|y_l| (nats per token).

Law: swapping chosen and rejected flips the sign of h. Errors: BadComposition without lengths.
Source: meng:24.
"""


def bent_log_prob_gap(a: float) -> Margin:
    """h = R_w - R_l, R = (1 - e^{-a·L})/a, L the log-prob per token; a -> 0: `mean_log_prob_gap`.

    a > 0 pulls harder at improbable answers, a < 0 less. Any finite a but 0. Where -a·L passes 60, R
    continues linearly, value and slope, and such pairs are counted as `linear_continuation`.

    Errors: BadConfig for another a; BadComposition without lengths. Source: gupta:25.

    >>> bent_log_prob_gap(0.25).name
    'bent_log_prob_gap(0.25)'
    """
    if isinstance(a, bool) or not isinstance(a, int | float) or not abs(a) < float("inf") or not a:
        raise BadConfig(f"a must be a finite number other than 0, got {a!r}; at 0 it is SimPO")
    return Margin(
        name=f"bent_log_prob_gap({a:g})",
        value=partial(_bent_gap, a=a),
        facts=partial(_bent_facts, a=a),
        needs=_ALONE,
        source="gupta:25",
        formula=f"(exp(-{a}·l_l/n_l) - exp(-{a}·l_w/n_w))/{a}",
    )
