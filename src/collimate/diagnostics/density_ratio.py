"""How much likelier a prompt is among wanted answers than among unwanted ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadData


def density_ratio(
    features: Float[Tensor, "row feature"],
    label: Float[Tensor, " row"],
    *,
    ridge: float = 1e-3,
    steps: int = 50,
) -> Float[Tensor, " row"]:
    """P(wanted | x)/P(unwanted | x) of each row by logistic regression, times unwanted/wanted rows.

    features: of the prompts (embeddings, one-hot kinds). label: +1 or -1. The prior of the labels is
    divided out, so that the ratio is that of the two densities of prompts: `bco` reads it as the column
    `density_ratio`. ridge: weight of the squared coefficients. Newton's method in float64.

    Errors: BadData unless both labels occur and everything is finite. Source: jung:25.

    >>> kinds = torch.tensor([[1.0], [1.0], [1.0], [0.0], [0.0], [0.0]])
    >>> ratio = density_ratio(kinds, torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0, -1.0]))
    >>> [round(x, 1) for x in ratio[[0, -1]].tolist()]  # 2/1 and 1/2
    [2.0, 0.5]
    """
    x, y = features.double(), label.double()
    if not (x.isfinite().all() and (y == 1).any() and (y == -1).any()):
        raise BadData("a density ratio needs finite features, and rows of both labels, +1 and -1")
    x = torch.cat([x - x.mean(0), torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    penalty = torch.full((x.shape[1],), ridge, dtype=x.dtype)
    penalty[-1] = 0.0
    weight = torch.zeros(x.shape[1], dtype=x.dtype)
    target = (y + 1) / 2
    for _ in range(steps):
        p = torch.sigmoid(x @ weight)
        gradient = x.T @ (p - target) + penalty * weight
        curvature = (x * (p * (1 - p))[:, None]).T @ x + torch.diag(penalty + 1e-12)
        step = torch.linalg.solve(curvature, gradient)
        weight = weight - step
        if step.abs().max() < 1e-12:
            break
    prior = (y == -1).sum() / (y == 1).sum()
    return (torch.exp(x @ weight) * prior).to(features.dtype)
