"""A sweep over beta where the world is known: its points lie on the exact frontier, or below it.

The policies are tables of logits fitted to the population loss (`lab.fit`), so that KL and reward are
exact sums, right to 1e-9 of the reward's spread; noise comes from labels of finitely many pairs alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from collimate.divergences import reverse_kl
from collimate.lab import fit
from collimate.methods import dpo, ipo
from collimate.tradeoffs import front, hypervolume, pareto_set

BETAS = (0.3, 1.0, 3.0)
WAYS = ("min", "max")  # KL, reward
TOLERANCE = 1e-9


def placed(world, log_probs):
    return [world.divergence(log_probs, reverse_kl), world.expected_reward(log_probs)]


def swept(world, labelled, methods):
    """[setting, (KL, reward)] in `world` of policies fitted to the labels of `labelled`."""
    return np.array([placed(world, fit(labelled, method).log_probs) for method in methods])


def from_pairs(world, count, seed):
    """The world as `count` labelled pairs show it: shares of wins, one win and one loss added."""
    context, chosen, rejected = world.sample_pairs(count, np.random.default_rng(seed))
    wins = torch.ones(*world.reward.shape, world.reward.shape[-1], dtype=torch.float64)
    at = (torch.from_numpy(context), torch.from_numpy(chosen), torch.from_numpy(rejected))
    wins.index_put_(at, torch.ones(count, dtype=torch.float64), accumulate=True)
    return replace(world, preference=wins / (wins + wins.mT))


def best_at(world, points):
    frontier = world.frontier(reverse_kl)
    return np.array([frontier.reward_at(kl) for kl in points[..., 0].ravel()]).reshape(
        points.shape[:-1]
    )


def test_with_every_label_known_the_sweep_of_dpo_is_the_frontier(random_world):
    world = random_world(contexts=2, responses=6)
    points = swept(world, world, [dpo(beta) for beta in BETAS])
    assert np.abs(points[:, 1] - best_at(world, points)).max() < TOLERANCE
    assert pareto_set(points, WAYS).all()


@pytest.mark.slow
def test_with_finitely_many_labels_every_point_lies_below_it(random_world):
    world = random_world(contexts=2, responses=6)
    methods = [make(beta) for make in (dpo, ipo) for beta in BETAS]
    points = np.stack([swept(world, from_pairs(world, 300, seed), methods) for seed in range(3)])
    short = best_at(world, points) - points[..., 1]
    assert short.min() > -TOLERANCE
    assert (short > 1e-3).mean() > 0.9  # noise costs reward at every KL

    reference = np.array([points[..., 0].max() + 1, world.reward.min().item()])
    found = front(points, WAYS, reference, draws=200)
    assert found.on_front.any()
    above = np.stack([found.mean[:, 0], best_at(world, found.mean)], axis=-1)
    assert found.volume <= hypervolume(above, reference, WAYS) + TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [100, 10_000])
def test_more_labels_bring_the_sweep_nearer_to_it(pairs, random_world):
    world = random_world(contexts=2, responses=6)
    methods = [dpo(beta) for beta in BETAS]
    points = np.stack([swept(world, from_pairs(world, pairs, s), methods) for s in range(4)])
    short = (best_at(world, points) - points[..., 1]).mean()
    assert (short < 0.02) == (pairs == 10_000)
