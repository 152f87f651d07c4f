"""A temperature for each sample, learnt from how the sample looks in several views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadConfig, BadData, one_of, positive, same_length

Goal = Literal["correctness", "cross_entropy", "squared"]


def view_features(
    logits: Float[Tensor, "view row class"], *, top: int = 4
) -> Float[Tensor, "row ..."]:
    """The `top` largest softmax scores of every view, largest first: [row, view·top] in float64.

    Views are the logits of transformed copies of each input (the paper: five views, four scores).
    Missing classes count as score 0.

    Errors: BadConfig for top below 1. Source: liu:24d.

    >>> view_features(torch.zeros(5, 3, 10)).shape
    torch.Size([3, 20])
    """
    if top < 1:
        raise BadConfig(f"top must be at least 1, got {top}")
    scores = logits.double().softmax(-1).sort(descending=True).values[..., :top]
    scores = torch.nn.functional.pad(scores, (0, top - scores.shape[-1]))
    return scores.transpose(0, 1).flatten(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleTemperature:
    """T = exp(w·tanh(W·(x - mean) + b) + c): a small net; before any step T = 1 everywhere.

    inner [feature+1, unit], outer [unit+1], mean [feature]: float64, the last row is the bias.
    """

    inner: Float[Tensor, "in unit"]
    outer: Float[Tensor, " out"]
    mean: Float[Tensor, " feature"]

    def __call__(self, features: Float[Tensor, "row feature"], /) -> Float[Tensor, " row"]:
        """T > 0 of each row; dividing logits by it keeps every argmax."""
        x = features.double() - self.mean
        hidden = torch.tanh(x @ self.inner[:-1] + self.inner[-1])
        return torch.exp(hidden @ self.outer[:-1] + self.outer[-1])


def fit_sample_temperature(
    features: Float[Tensor, "row feature"],
    logits: Float[Tensor, "row class"],
    label: Int[Tensor, " row"],
    *,
    goal: Goal = "correctness",
    units: int = 16,
    steps: int = 300,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> SampleTemperature:
    """The net g whose temperatures T = g(features) minimise the goal's mean over rows.

    With p = softmax(logits/T): "correctness" (1[argmax is right] - max p)²; the baselines
    "cross_entropy" -log p[label] and "squared" Σ(p - onehot)². A wrong row asks correctness for less
    confidence always; cross-entropy lowers its T all the same wherever log p[label] > -H(p).

    Fit on rows that the classifier was not trained on. Not found in the source, hence ours: the net
    (one tanh layer, T by exp), Adam on all rows at once, and the views' transformations, which are
    the caller's. Deterministic given the seed; float64.

    Errors: BadData for no rows, two lengths, or numbers that are not finite; BadConfig for units or
    steps below 1. Source: liu:24d.

    >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> net = fit_sample_temperature(logits.softmax(-1), logits, torch.tensor([0, 1]), steps=200)
    >>> bool((net(logits.softmax(-1)) > 2).all())  # right half of the time: confidence falls to ½
    True
    """
    same_length(features=len(features), logits=len(logits), label=len(label))
    if not (features.isfinite().all() and logits.isfinite().all()):
        raise BadData("features and logits must be finite")
    if units < 1 or steps < 1:
        raise BadConfig(f"units and steps must be at least 1, got {units} and {steps}")
    one_of("goal", goal, get_args(Goal))
    positive("learning_rate", learning_rate)
    x, z = features.detach().double(), logits.detach().double()
    generator = torch.Generator().manual_seed(seed)
    width = x.shape[1]
    inner = torch.randn(width + 1, units, dtype=torch.float64, generator=generator) / width**0.5
    net = SampleTemperature(
        inner=inner.to(x.device).requires_grad_(),
        outer=torch.zeros(units + 1, dtype=torch.float64, device=x.device, requires_grad=True),
        mean=x.mean(0),
    )
    correct = (z.argmax(-1) == label).double()
    onehot = torch.nn.functional.one_hot(label, z.shape[1])
    optimizer = torch.optim.Adam([net.inner, net.outer], lr=learning_rate)
    with torch.enable_grad():
        for _ in range(steps):
            log_p = (z / net(x)[:, None]).log_softmax(-1)
            if goal == "correctness":
                loss = (correct - log_p.amax(-1).exp()).square()
            elif goal == "cross_entropy":
                loss = -(onehot * log_p).sum(-1)
            else:
                loss = (log_p.exp() - onehot).square().sum(-1)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
    return SampleTemperature(inner=net.inner.detach(), outer=net.outer.detach(), mean=net.mean)
