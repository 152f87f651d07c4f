"""Rewards as forecasts of preferences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadData, same_length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreferenceForecasts:
    """Two forecasts per pair, one for each order of its answers.

    probability: that the first answer is preferred. outcome: whether it was. pair: index of the pair,
    the group of bootstrap intervals (the two forecasts of a pair are one observation).
    """

    probability: Float[Tensor, " forecast"]
    outcome: Bool[Tensor, " forecast"]
    pair: Int[Tensor, " forecast"]


def preference_forecasts(
    reward_chosen: Float[Tensor, " pair"], reward_rejected: Float[Tensor, " pair"]
) -> PreferenceForecasts:
    """P(first ≻ second) = sigmoid(r_first - r_second) for both orders of every pair, in float64.

    Data of pairs name the chosen answer first, so that "the first is preferred" is always true and
    a calibration error would be the mean of 1 - p, which falls without end as rewards grow. Asking
    both orders restores the class that is missing: (p, true) and (1 - p, false), half of either,
    the diagram symmetric about (½, ½). The error then equals that of the favoured answer's
    probability max(p, 1 - p) against whether it was chosen. Take an even number of bins: a middle
    bin holds p and 1 - p alike and is right by construction.

    Rewards in nats: a reward model's, or beta·log-ratio of a policy (implicit rewards, any missing
    constant per prompt cancels). The scale is fitted by `fit_temperature` on logits [gap, 0].

    Errors: BadData for NaN or infinite rewards, no pairs, or two lengths. Source: bradley:52; guo:17.

    >>> forecasts = preference_forecasts(torch.tensor([1.0]), torch.tensor([1.0]))
    >>> forecasts.probability.tolist(), forecasts.outcome.tolist()
    ([0.5, 0.5], [True, False])
    """
    pairs = same_length(chosen=len(reward_chosen), rejected=len(reward_rejected))
    gap = reward_chosen.detach().double() - reward_rejected.detach().double()
    if not gap.isfinite().all():
        raise BadData("rewards must be finite numbers")
    first = torch.arange(2 * pairs, device=gap.device) < pairs
    return PreferenceForecasts(
        probability=torch.cat([gap, -gap]).sigmoid(),
        outcome=first,
        pair=torch.arange(pairs, device=gap.device).repeat(2),
    )
