"""The best expected reward at each divergence from the reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadConfig
from collimate._root import root

_LEAST_BETA, _LARGEST_BETA = 1e-9, 1e15  # in spreads; beyond them the reward gains less than 1e-9
_SOUGHT = 1e-12  # relative error of the divergence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """Points on the frontier of E_p[r] against D_f(p‖q), sorted by divergence.

    beta: price of divergence, inf at the reference itself. divergence: in nats, mean over
    contexts. reward: mean over contexts. spread: standard deviation of the reward under the
    reference, the natural unit of beta (1 for constant rewards). solve: beta -> (divergence,
    reward) of the exact optimum; with several contexts they share that beta.
    """

    beta: Float[Tensor, " point"]
    divergence: Float[Tensor, " point"]
    reward: Float[Tensor, " point"]
    spread: float
    solve: Callable[[float], tuple[float, float]]

    def reward_at(self, divergence: float, /) -> float:
        """The largest expected reward of any policy within `divergence` nats of the reference.

        Exact: beta is solved for, nothing is interpolated. Beyond the divergence at which the
        reward saturates, the saturated reward.

        Errors: BadConfig for a negative divergence or NaN.
        """
        if not divergence >= 0:
            raise BadConfig(f"divergence must be at least 0 nats, got {divergence!r}")
        if divergence == 0:
            return self.reward[0].item()
        top = self.spread
        while top < _LARGEST_BETA * self.spread and self.solve(top)[0] > divergence:
            top *= 10
        least = _LEAST_BETA * self.spread
        if self.solve(least)[0] <= divergence:
            return self.solve(least)[1]

        def excess(w: Float[Tensor, ""]) -> Float[Tensor, ""]:
            at = max(top * math.exp(-float(w)), least)
            return torch.tensor(self.solve(at)[0] / divergence, dtype=torch.float64).log()

        w = root(excess, torch.zeros((), dtype=torch.float64), _SOUGHT)
        return self.solve(top * math.exp(-float(w)))[1]


def trace(
    solve: Callable[[float], tuple[float, float]],
    reference_reward: float,
    spread: float,
    betas: Float[Tensor, " point"] | None,
) -> Frontier:
    """The frontier at `betas` (default: 1e3 to 1e-3 spreads, ten a decade) and at the reference."""
    if betas is None:
        betas = spread * torch.logspace(3, -3, 61, dtype=torch.float64)
    ordered = betas.to(torch.float64).sort(descending=True).values
    points = [(0.0, reference_reward), *(solve(float(beta)) for beta in ordered)]
    return Frontier(
        beta=torch.cat([torch.tensor([float("inf")], dtype=torch.float64), ordered]),
        divergence=torch.tensor([point[0] for point in points], dtype=torch.float64),
        reward=torch.tensor([point[1] for point in points], dtype=torch.float64),
        spread=spread,
        solve=solve,
    )
