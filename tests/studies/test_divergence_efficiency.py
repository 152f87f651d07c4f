"""wang:24: at one expected reward, a divergence that punishes vanishing ratios lets none vanish."""

import pytest
import torch

from collimate._root import root
from collimate.divergences import forward_kl, jensen_shannon, reverse_kl
from collimate.lab import World

SEEDS = 40


def at_reward(world, divergence, wanted):
    """The optimum whose expected reward is `wanted`, by its beta."""

    def excess(w):
        beta = 1e3 * torch.exp(-w).item()
        return torch.tensor(world.expected_reward(world.optimum(divergence, beta)) - wanted)

    w = root(excess, torch.zeros(()), 1e-5)
    return world.optimum(divergence, 1e3 * torch.exp(-w).item())


def ordered(seeds):
    """In how many worlds min p/q, and Shannon's entropy, fall from forward KL to JS to reverse KL."""
    least, entropies = 0, 0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randn(2, 1, 10, dtype=torch.float64, generator=generator)
        world = World(numbers[0].log_softmax(-1), numbers[1])
        q = world.reference_log_probs
        start, best = world.expected_reward(q), world.reward.max().item()
        wanted = start + 0.6 * (best - start)
        ends = [at_reward(world, d, wanted) for d in (forward_kl, jensen_shannon, reverse_kl)]
        ratio = [(p - q).min().item() for p in ends]
        entropy = [-(p.exp() * p).sum().item() for p in ends]
        least += ratio[0] > ratio[1] > ratio[2]
        entropies += entropy[0] > entropy[1] > entropy[2]
    return least, entropies


def test_the_least_ratio_follows_the_divergence():
    assert ordered(3)[0] == 3


@pytest.mark.slow
def test_the_least_ratio_follows_in_every_world_and_entropy_does_not():
    least, entropies = ordered(40)
    assert least == 40
    assert entropies < 20  # measured 9
