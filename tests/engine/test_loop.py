"""Gradient clipping: one factor for all, also beyond what float32 can square."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from collimate.engine.loop import clip_gradients


def parameters(*gradients: list[float]) -> list[Tensor]:
    made = [nn.Parameter(torch.zeros(len(g))) for g in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return [*made, nn.Parameter(torch.zeros(3))]  # the last has no gradient


def entries(made: list[Tensor]) -> list[float]:
    return [x for p in made if p.grad is not None for x in p.grad.tolist()]


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15, 1e25, 1e38], ids=str)
def test_direction_stays_and_the_norm_is_said(scale: float) -> None:
    made = parameters([3 * scale, 0.0], [0.0, -2 * scale])
    norm = clip_gradients(made, 1.0)
    assert norm == pytest.approx(math.sqrt(13) * scale, rel=1e-6)
    factor = min(1.0, 1.0 / norm)
    assert entries(made) == pytest.approx([3 * scale * factor, 0, 0, -2 * scale * factor], rel=1e-6)


def test_a_short_gradient_is_left_to_the_bit() -> None:
    made = parameters([0.1, -0.2], [0.3])
    before = entries(made)
    clip_gradients(made, 1.0)
    assert entries(made) == before


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_said(bad: float) -> None:
    assert not math.isfinite(clip_gradients(parameters([1.0, bad]), 1.0))
