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


WIDTHS = [1, 4, 16, 64, 256, 1024]
SEEDS, ROWS, STEPS, RATE = 6, 400, 150, 0.01


def distracted(seed, width):
    """Mean -log p(label), nats, on rows where an easy rule misleads, of a net of that width.

    True rule: the parity of two signs. Easy rule: the sign of a third input, which agrees with the
    label in 85 % of the training rows and never in the test. Plain gradient descent from a function of
    0: the wider the net, the faster it learns, in the same number of steps.
    """
    generator = torch.Generator().manual_seed(1000 * width + seed)

    def draw(rows, agreement):
        signs = torch.randint(2, (rows, 2), generator=generator).double() * 2 - 1
        label = signs.prod(1)
        follows = torch.rand(rows, generator=generator) < agreement
        easy = torch.where(follows, label, -label)
        x = torch.cat([signs, easy[:, None], torch.ones(rows, 1)], 1)
        return x, label

    x, label = draw(ROWS, 0.85)
    inner = torch.randn(4, width, dtype=torch.float64, generator=generator).requires_grad_()
    outer = torch.zeros(width, dtype=torch.float64, requires_grad=True)

    def loss(inputs, target):
        return torch.nn.functional.softplus(-target * (torch.tanh(inputs @ inner) @ outer)).mean()

    for _ in range(STEPS):
        slopes = torch.autograd.grad(loss(x, label), [inner, outer])
        with torch.no_grad():
            inner -= RATE * slopes[0]
            outer -= RATE * slopes[1]
    with torch.no_grad():
        return float(loss(*draw(ROWS, 0.0)))


@pytest.mark.slow
def test_a_distractor_makes_larger_nets_worse_before_they_are_better():
    """Measured losses 0.7, 0.9, 1.0, 1.4, 1.0, 0.3; of the four smaller sizes alone: inverse scaling."""
    losses = np.array([[distracted(seed, width) for width in WIDTHS] for seed in range(SEEDS)])
    mean, error = losses.mean(0), losses.std(0, ddof=1) / SEEDS**0.5
    size = np.array(WIDTHS, dtype=float)
    whole = scaling_trend(size, mean, error, larger_is_better=False)
    assert (whole.trend, whole.curvature_z < 0) == ("u", True)
    assert scaling_trend(size[:4], mean[:4], error[:4], larger_is_better=False).trend == "inverse"
