"""The frontier: from the reference to saturation, monotone, concave, solved exactly."""

from operator import attrgetter

import pytest
import torch

from collimate._checks import BadConfig
from collimate.divergences import alpha, forward_kl, jensen_shannon, reverse_kl
from collimate.lab import World

every = pytest.mark.parametrize(
    "divergence",
    [reverse_kl, forward_kl, jensen_shannon, alpha(0.5), alpha(-1.0)],
    ids=attrgetter("name"),
)


@every
def test_starts_at_the_reference_rises_and_is_concave(divergence, random_world):
    world = random_world()
    frontier = world.frontier(divergence)
    d, r = frontier.divergence, frontier.reward
    assert d[0] == 0
    assert frontier.beta[0] == float("inf")
    assert r[0].item() == pytest.approx(world.expected_reward(world.reference_log_probs))
    # Greedy saturates a bounded divergence: steps are then below rounding.
    moved = d.diff() > 1e-9
    assert (d.diff() >= -1e-12).all()
    assert moved[:40].all()
    assert (r.diff()[moved] > 0).all()
    secant = (r.diff() / d.diff())[moved]
    assert (secant.diff() <= 1e-6 * secant[:-1]).all()
    assert r[-1] > 0.98 * world.reward.amax(-1).mean()


@every
def test_slope_of_the_frontier_is_the_price_beta(divergence, random_world):
    frontier = random_world(1).frontier(divergence)
    for beta in (0.1, 0.5, 2.0):
        (d0, r0), (d1, r1) = frontier.solve(beta * 1.001), frontier.solve(beta / 1.001)
        assert (r1 - r0) / (d1 - d0) == pytest.approx(beta, rel=1e-3)


@every
def test_reward_at_inverts_the_optimum_exactly(divergence, random_world):
    world = random_world(2)
    frontier = world.frontier(divergence, torch.tensor([1.0, 0.1]))  # two points are enough
    for beta in (300.0, 0.77, 0.033):
        best = world.optimum(divergence, beta)
        found = frontier.reward_at(world.divergence(best, divergence))
        assert found == pytest.approx(world.expected_reward(best), rel=1e-9, abs=1e-9)


@every
def test_reward_at_both_ends(divergence, random_world):
    world = random_world(3)
    frontier = world.frontier(divergence, torch.tensor([1.0]))
    assert frontier.reward_at(0.0) == world.expected_reward(world.reference_log_probs)
    tiny = frontier.reward_at(1e-12) - frontier.reward_at(0.0)
    assert 0 < tiny < 1e-5
    assert frontier.reward_at(1e6) == pytest.approx(world.reward.amax(-1).mean().item(), rel=1e-6)


@every
def test_no_policy_lies_above(divergence, random_world):
    world = random_world(4)
    frontier = world.frontier(divergence, torch.tensor([1.0]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        noise = torch.randn(3, 12, dtype=torch.float64, generator=generator)
        tilt = world.reference_log_probs + 0.5 * world.reward + 0.3 * noise
        policy = tilt.log_softmax(-1)
        best = frontier.reward_at(world.divergence(policy, divergence))
        assert world.expected_reward(policy) < best


def test_own_betas_are_sorted_and_constant_rewards_are_a_point():
    frontier = World(torch.tensor([[0.5, 0.5]]).log(), torch.zeros(1, 2)).frontier(
        reverse_kl, torch.tensor([0.1, 10.0, 1.0])
    )
    assert frontier.beta.tolist() == pytest.approx([float("inf"), 10.0, 1.0, 0.1])
    assert frontier.divergence.tolist() == pytest.approx([0.0] * 4, abs=1e-15)
    assert frontier.reward_at(3.0) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("bad", [-1e-3, float("nan")])
def test_what_is_no_divergence_is_refused(bad, random_world):
    with pytest.raises(BadConfig, match="at least 0 nats"):
        random_world().frontier(reverse_kl, torch.tensor([1.0])).reward_at(bad)
