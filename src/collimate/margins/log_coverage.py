"""The log-probability that one of n answers is the chosen one."""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig
from collimate._numerics import log1mexp
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin

_CERTAIN = -1e-12  # log-prob above which an answer is as good as certain
_RARE = -30.0  # log of n·p below which pass@n is n·p to the last digit of float64


def _value(view: PairLogProbs, divergence: Divergence, *, n: int) -> Float[Tensor, " pair"]:
    log_p = view.policy_chosen.clamp(max=_CERTAIN)
    rare = log_p + math.log(n) < _RARE
    inner = torch.where(rare, torch.full_like(log_p, -1.0), log_p)
    return torch.where(rare, log_p + math.log(n), log1mexp(n * log1mexp(inner)))


def log_coverage(n: int) -> Margin:
    """h = log(1 - (1 - p)^n), p the chosen answer's probability: the log of pass@n.

    n = 1 is `chosen_log_prob`. The gradient is that of log p times n·p·(1-p)^(n-1)/(1-(1-p)^n) in
    (0, 1]: answers that n draws find anyway pull no more.

    Errors: BadConfig unless n is a whole number of at least 1. Source: chen:25.

    >>> log_coverage(16).name
    'log_coverage(16)'
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise BadConfig(f"n must be a whole number of at least 1, got {n!r}")
    return Margin(
        name=f"log_coverage({n})",
        value=partial(_value, n=n),
        needs=Needs(view="pairs", reference=False),
        compares=False,
        source="chen:25",
        formula=f"log(1 - (1 - exp(l_w))^{n})",
    )
