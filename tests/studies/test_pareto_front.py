"""astolfi:24: realism and consistency of conditional samplers rise together, at a price in diversity.

An enumerable sampler q(y|c): every number is exact. Knobs: temperature q(y|c)^(1/T), and guidance
q(y|c)·q(c|y)^w (ho:21). Consistency E log q(c|y), realism E log q(y|c), diversity the entropy given c:
all in nats, means over conditions.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from collimate.tradeoffs import front, hypervolume, pareto_set

CONDITIONS, OUTPUTS, SEEDS = 4, 30, 10
TEMPERATURES = torch.logspace(0.5, -1, 13, dtype=torch.float64)
GUIDANCE = torch.linspace(0, 6, 13, dtype=torch.float64)
WAYS = ("max", "max", "max")
REFERENCE = np.array([-6.0, 0.0, -20.0])  # consistency, diversity, realism; before any sweep


def sampler(seed):
    """(log q(y|c), log q(c|y)) for even conditions."""
    generator = torch.Generator().manual_seed(seed)
    scores = 1.5 * torch.randn(CONDITIONS, OUTPUTS, dtype=torch.float64, generator=generator)
    log_q = scores.log_softmax(-1)
    return log_q, log_q.log_softmax(0)


def measured(log_p, log_q, log_c):
    """(consistency, diversity, realism) of p(y|c)."""
    p = log_p.exp()
    return [float((p * x).sum(-1).mean()) for x in (log_c, -log_p, log_q)]


def swept(seed, knob):
    """[setting, objective] along the knob, from loose to tight."""
    log_q, log_c = sampler(seed)
    if knob == "temperature":
        laws = [(log_q / t).log_softmax(-1) for t in TEMPERATURES]
    else:
        laws = [(log_q + w * log_c).log_softmax(-1) for w in GUIDANCE]
    return np.array([measured(law, log_q, log_c) for law in laws])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_cooling_makes_samples_more_real_and_less_diverse_without_exception(seed):
    """Exponential families: d E[log q]/d(1/T) = Var >= 0, d H/d(1/T) = -Var/T <= 0."""
    _, diversity, realism = swept(seed, "temperature").T
    assert (np.diff(realism) > 0).all()
    assert (np.diff(diversity) < 0).all()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_guidance_makes_samples_more_consistent_without_exception(seed):
    """d E[log q(c|y)]/dw = Var(log q(c|y)) >= 0."""
    assert (np.diff(swept(seed, "guidance")[:, 0]) > 0).all()


@pytest.mark.parametrize("knob", ["temperature", "guidance"])
def test_consistency_and_realism_rise_together_while_diversity_falls(knob):
    """Over the sweep as a whole, of every sampler; single steps are another matter."""
    ends = np.array([swept(seed, knob)[[0, -1]] for seed in range(SEEDS)])
    consistency, diversity, realism = (ends[:, 1] - ends[:, 0]).T
    assert (consistency > 0).all()
    assert (diversity < 0).all()
    assert (realism > 0).sum() >= SEEDS - 1


def test_every_setting_of_the_temperature_is_on_the_front():
    """What realism gains diversity loses; so nothing is dominated, and volume adds up over seeds."""
    points = np.stack([swept(seed, "temperature") for seed in range(SEEDS)])
    assert all(pareto_set(sweep, WAYS).all() for sweep in points)
    found = front(points, WAYS, REFERENCE, draws=100)
    assert found.on_front.all()
    assert found.volume_low < found.volume < found.volume_high
    both = np.concatenate(
        [points.mean(0), np.mean([swept(s, "guidance") for s in range(SEEDS)], 0)]
    )
    assert hypervolume(both, REFERENCE, WAYS) > found.volume
