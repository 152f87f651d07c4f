"""mckenzie:23: trends of a metric with size, called by a weighted quadratic fit.

The classifier on synthetic curves, false alarms on flat ones included; and a distractor task, where
nets of growing width meet an easy spurious rule before the true one.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from collimate.diagnostics.probes import scaling_trend

SIZES = 10.0 ** np.linspace(6, 11, 8)
T = np.linspace(-1, 1, 8)
EFFECT, CURVES = 0.4, 1000
SHAPES = {
    "standard": EFFECT / 2 * T,
    "inverse": -EFFECT / 2 * T,
    "u": EFFECT * T**2,
    "inverted_u": -EFFECT * T**2,
    "flat": 0 * T,
}


def confusion(trend, noise, known=True):
    """How often curves of that trend get each name."""
    generator = np.random.default_rng(sorted(SHAPES).index(trend))
    error = np.full(8, noise) if known else None
    noisy = SHAPES[trend] + noise * generator.normal(size=(CURVES, 8))
    return Counter(scaling_trend(SIZES, y, error).trend for y in noisy)


@pytest.mark.parametrize("trend", sorted(SHAPES))
def test_right_calls_at_small_noise(trend):
    """Measured at noise 0.02: all of each shape but flat, of which about one in ten is called else."""
    found = confusion(trend, 0.02)
    assert found[trend] >= (0.88 if trend == "flat" else 0.99) * CURVES, found


@pytest.mark.parametrize("trend", sorted(SHAPES))
def test_right_calls_at_larger_noise(trend):
    found = confusion(trend, 0.05)
    assert found[trend] >= (0.88 if trend == "flat" else 0.95) * CURVES, found


def test_without_known_errors_flat_curves_are_called_something_more_often():
    """Student's t with 5 degrees of freedom: P(|t| > 2) is 0.10, not 0.046, for each of two tests."""
    known, guessed = (CURVES - confusion("flat", 0.05, known)["flat"] for known in (True, False))
    assert known < 0.12 * CURVES
    assert 0.12 * CURVES < guessed < 0.25 * CURVES


WIDTHS = [1, 2, 4, 8, 16, 32]
SEEDS, ROWS, STEPS = 6, 400, 400


def distracted(seed, width):
    """Accuracy on rows where the easy rule misleads, of a tanh net trained where it seldom does.

    True rule: the parity of two signs (no width of 1 can). Easy rule: the sign of a third input, which
    agrees with the label in 85 % of the training rows and never in the test.
    """
    generator = torch.Generator().manual_seed(1000 * width + seed)

    def draw(rows, agreement):
        signs = torch.randint(2, (rows, 2), generator=generator).double() * 2 - 1
        label = signs.prod(1)
        follows = torch.rand(rows, generator=generator) < agreement
        easy = torch.where(follows, label, -label)
        x = torch.cat([signs, easy[:, None]], 1)
        return x + 0.1 * torch.randn(rows, 3, dtype=torch.float64, generator=generator), label

    x, label = draw(ROWS, 0.85)
    inner = torch.randn(4, width, dtype=torch.float64, generator=generator).requires_grad_()
    outer = torch.randn(width, dtype=torch.float64, generator=generator).div(width**0.5)
    outer.requires_grad_()
    optimizer = torch.optim.Adam([inner, outer], lr=0.02)

    def logit(inputs):
        return torch.tanh(inputs @ inner[:3] + inner[3]) @ outer

    for _ in range(STEPS):
        loss = torch.nn.functional.softplus(-label * logit(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test, truth = draw(ROWS, 0.0)
    return float((logit(test).detach() * truth > 0).double().mean())
