"""A beta that follows how far the step's pairs are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import BadConfig, at_least_zero, positive, within_closed
from collimate._steps import mean, weights
from collimate._types import PairLogProbs
from collimate.axes import State

_LEAST = 1e-3
_STREAM = 2  # whatever else is drawn from the seed in this step must not go with it


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAdaptive:
    """One beta per step: max(0.001, value·(1 + a·(M - M0))), M the mean log-ratio gap of its pairs.

    M runs over the `share` of the pairs that is kept: drawn without replacement, those near M0
    likelier, in proportion to exp(-(gap - M0)²/(2·sd²)). M0 and sd are the running mean and standard
    deviation of the gaps (`momentum`), from the first step's on; before them all pairs are kept and
    beta is `value`. Defined over the whole step; M0, sd, the count of steps and the run's seed, of
    which each step draws, are its state. A pair counts by its `weight` in every
    mean.
    """

    value: float
    a: float
    share: float
    momentum: float
    source: str = "wu:24"
    couples: Literal["batch"] = "batch"

    @property
    def name(self) -> str:
        """`batch_adaptive(beta, a)`."""
        return f"batch_adaptive({self.value:g}, {self.a:g})"

    @property
    def formula(self) -> str:
        """beta as text."""
        return f"max({_LEAST}, {self.value}·(1 + {self.a}·(gap - gap_0)))"

    def init(self) -> State:
        """No gap seen yet."""
        return {"steps": 0.0, "mean": 0.0, "deviation": 0.0, "seed": 0.0}

    def beta(self, view: PairLogProbs, state: State, /) -> Float[Tensor, " pair"]:
        """The step's beta, the same for each of its pairs."""
        gap = _gap(view)
        if not state["steps"]:
            return torch.full_like(gap, self.value)
        kept = mean(gap, weights(view.columns, gap) * self.kept(view, state))
        return (self.value * (1 + self.a * (kept - state["mean"]))).clamp(min=_LEAST).expand_as(gap)

    def kept(self, view: PairLogProbs, state: State, /) -> Bool[Tensor, " pair"]:
        """Which pairs of the step take part."""
        gap = _gap(view)
        if not state["steps"]:
            return torch.ones_like(gap, dtype=torch.bool)
        generator = np.random.default_rng([int(state.get("seed", 0)), int(state["steps"]), _STREAM])
        uniform = torch.from_numpy(generator.random(len(gap)))
        distance = (gap - state["mean"]) / max(state["deviation"], 1e-12)
        keys = -distance.square() / 2 - torch.log(-torch.log(uniform)).to(gap)
        best = keys.topk(max(1, math.ceil(self.share * len(gap)))).indices
        return torch.zeros_like(gap, dtype=torch.bool).index_fill(0, best, value=True)

    def update(self, view: PairLogProbs, state: State, /) -> State:
        """The running mean and standard deviation of the gaps after the step."""
        gap = _gap(view)
        weight = weights(view.columns, gap)
        middle = mean(gap, weight)
        spread = mean((gap - middle).square(), weight).sqrt()
        found = {"mean": middle.item(), "deviation": spread.item()}
        keep = self.momentum if state["steps"] else 0.0
        blended = {name: keep * state[name] + (1 - keep) * new for name, new in found.items()}
        return {**state, "steps": state["steps"] + 1, **blended}


def _gap(view: PairLogProbs) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    return (chosen - rejected).detach()


def batch_adaptive(
    beta: float, a: float, *, share: float = 0.8, momentum: float = 0.9
) -> BatchAdaptive:
    """beta > 0 before the adaptation, a >= 0 its strength. Source: wu:24 (and its code).

    Errors: BadConfig outside the domains: share in (0, 1], momentum in [0, 1].

    >>> batch_adaptive(0.1, 0.6).name
    'batch_adaptive(0.1, 0.6)'
    """
    at_least_zero("a", a)
    if within_closed("share", share, 0.0, 1.0) == 0:
        raise BadConfig("share must be above 0: no pair would be left")
    within_closed("momentum", momentum, 0.0, 1.0)
    return BatchAdaptive(value=positive("beta", beta), a=a, share=share, momentum=momentum)
