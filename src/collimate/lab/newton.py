"""Damped Newton steps for independent problems with exact Hessians."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 1e-14  # relative; below it two losses are equal and the gradient decides
_LONGEST = 4.0  # nats; farther away the curvature here says nothing, and sigmoids are flat
_LEAST_DAMPING = 1e-14  # in units of the largest curvature; more than a null direction's rounding


class Local(NamedTuple):
    """Value, gradient and Hessian of each problem at its point."""

    loss: Float[Tensor, " problem"]
    gradient: Float[Tensor, "problem variable"]
    hessian: Float[Tensor, "problem variable variable"]


def minimise(
    local: Callable[[Tensor], Local],
    start: Float[Tensor, "problem variable"],
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[Tensor, "problem variable"], float, int, float]:
    """Point, largest gradient norm, iterations, mean loss: problem by problem, all at once.

    The step is -(|H| + μ)^-1·g, |H| with the absolute eigenvalues of the Hessian, which descends in
    negative curvature too, cut to at most 4 in any variable. μ falls after a step that is taken and
    rises after one that is not. A problem stops at its first gradient norm of at most `tolerance`.
    """
    point, here = start, local(start)
    damping = torch.full_like(here.loss, 1e-3)
    eigen = torch.linalg.eigh(here.hessian)
    iterations = 0
    while iterations < max_iterations and (here.gradient.norm(dim=-1) > tolerance).any():
        iterations += 1
        scale = eigen.eigenvalues.abs()
        # Not 0 where all curvature is: a sigmoid has none at its middle.
        shift = (damping.clamp(min=_LEAST_DAMPING) * scale.amax(-1)).clamp(min=1e-200)[:, None]
        along = (eigen.eigenvectors.mT @ here.gradient[..., None]).squeeze(-1)
        step = -(eigen.eigenvectors @ (along / (scale + shift))[..., None]).squeeze(-1)
        step = step * (_LONGEST / step.abs().amax(-1, keepdim=True)).clamp(max=1)
        there = local(point + step)
        taken = _better(there, here) & (here.gradient.norm(dim=-1) > tolerance)
        damping = torch.where(taken, damping / 5, (damping * 4).clamp(min=_LEAST_DAMPING))
        if taken.any():
            point = torch.where(taken[:, None], point + step, point)
            here = _merge(taken, there, here)
            eigen = torch.linalg.eigh(here.hessian)
    norm = here.gradient.norm(dim=-1).max().item()
    return point, norm, iterations, here.loss.mean().item()


def _better(there: Local, here: Local) -> Tensor:
    """Whether the loss falls, or the gradient does where the loss is equal up to rounding."""
    finite = torch.isfinite(there.loss) & torch.isfinite(there.hessian).all(-1).all(-1)
    level = there.loss <= here.loss + _ROUNDING * here.loss.abs()
    smaller = there.gradient.norm(dim=-1) < here.gradient.norm(dim=-1)
    return finite & ((there.loss < here.loss - _ROUNDING * here.loss.abs()) | (level & smaller))


def _merge(taken: Tensor, there: Local, here: Local) -> Local:
    return Local(
        loss=torch.where(taken, there.loss, here.loss),
        gradient=torch.where(taken[:, None], there.gradient, here.gradient),
        hessian=torch.where(taken[:, None, None], there.hessian, here.hessian),
    )
