"""Weighted preference optimisation: pairs that the policy could have written count more."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs
from collimate.axes import State
from collimate.compose import Factor, Method
from collimate.margins import lengths, signal_sums
from collimate.methods.preference.dpo import dpo
from collimate.signals import log_collision


def _weight(view: PairLogProbs, state: State) -> Float[Tensor, " pair"]:
    counts = lengths(view)
    written = (view.policy_chosen, view.policy_rejected)
    expected = signal_sums(view, log_collision)
    means = [(a - b) / n for a, b, n in zip(written, expected, counts, strict=True)]
    return torch.exp(sum(means, torch.zeros_like(written[0]))).clamp(max=1)


def wpo(beta: float = 0.1) -> Method:
    """-w(y_w)·w(y_l)·log sigmoid(beta·(u_w - u_l)) per pair, without gradient through w.

    w(y) = exp of the mean over tokens of log p(y_t) - log Σ_v p(v)²: 1 where each token is as likely
    as the policy's own draws; the product is at most 1. u = log policy - log reference (nats). TRL
    (`use_weighting`) does not bound it. The product is the same for both labels of a pair, so that
    weights change nothing where all pairs can be fitted at once: DPO's population optimum.

    Errors: BadConfig unless beta is finite and above 0. Source: zhou:24 (and its code).

    >>> wpo().needs.signals[0].name
    'log_collision'
    """
    formula = "min(1, exp(sum_w(l_i - c_i)/n_w + sum_l(l_i - c_i)/n_l))"
    factor = Factor(value=_weight, formula=formula, signals=(log_collision,))
    plain = dpo(beta)
    optimum = plain.population_optimum
    return replace(plain, name="wpo", factor=factor, source="zhou:24", optimum=optimum)
