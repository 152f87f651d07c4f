"""Where a pull that is no gradient vanishes: implicit steps along its flow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_NUDGE = 1e-4  # nats; less, and rounding outweighs the slopes of answers that vanish
_LONGEST = 4.0  # nats, as of Newton's steps


def settle(
    pull: Callable[[Tensor], Tensor],
    start: Float[Tensor, "context response"],
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[Tensor, "context response"], float, int]:
    """Point, largest norm of the pull in a context, steps: dx/dt = -pull(x), followed until it rests.

    For losses that stop gradients: their pull has no loss of its own, and its Jacobian, of which no
    backward pass knows, is taken by central differences. Each step is implicit Euler's,
    -(J + μ)^-1·pull, 1/μ its length in time: μ is the norm of the pull / 4, so that no step is much
    longer than 4 nats and the last ones are Newton's, and above any negative curvature. μ rises where
    a step would turn the pull round. Rests where the flow does, never on a maximum.
    """
    point, here = start, pull(start)
    identity = torch.eye(start.numel()).to(start)
    # A context's logits have one direction without a pull: the anchor gives it a curvature.
    anchor = torch.block_diag(*[torch.ones(start.shape[1], start.shape[1]).to(start)] * len(start))
    damping, steps, jacobian = 1.0, 0, _jacobian(pull, start)
    while steps < max_iterations and not _norm(here) <= tolerance:
        steps += 1
        least = torch.linalg.eigvalsh((jacobian + jacobian.mT) / 2)[0].item()
        shift = damping * max(here.norm().item() / _LONGEST, -2 * least)
        step = -torch.linalg.solve(jacobian + anchor + shift * identity, here.flatten())
        step = step.reshape(start.shape) * (_LONGEST / step.abs().max()).clamp(max=1)
        there = pull(point + step)
        if (there * step).sum() <= -(here * step).sum() / 2:  # false for NaN
            point, here = point + step, there
            jacobian = _jacobian(pull, point)
            damping = max(1.0, damping / 4)
        else:
            damping = 4 * damping
    return point, _norm(here), steps


def _norm(pull: Float[Tensor, "context response"]) -> float:
    return pull.norm(dim=-1).max().item()


def _jacobian(
    pull: Callable[[Tensor], Tensor], point: Float[Tensor, "context response"]
) -> Float[Tensor, "pulled variable"]:
    nudges = _NUDGE * torch.eye(point.numel()).to(point).reshape(-1, *point.shape)
    columns = [(pull(point + nudge) - pull(point - nudge)).flatten() for nudge in nudges]
    return torch.stack(columns, -1) / (2 * _NUDGE)
