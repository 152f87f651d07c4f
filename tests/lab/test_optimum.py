"""Exact optima: normaliser, KKT conditions, perturbations, closed forms."""

from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from torch.testing import assert_close

from collimate import divergences
from collimate._checks import BadConfig, NotConverged
from collimate.divergences import FDivergence, alpha, forward_kl, jensen_shannon, reverse_kl
from collimate.lab import World, total_variation

ALL = [d for d in vars(divergences).values() if isinstance(d, FDivergence)]
ALL += [alpha(a) for a in (-3.0, -1.0, -1e-6, 1e-6, 0.3, 0.5, 0.7, 1.0, 2.0)]
BETAS = (1e-3, 0.01, 0.1, 0.5, 1.0, 10.0, 1e3)

every = pytest.mark.parametrize("divergence", ALL, ids=attrgetter("name"))
sweep = pytest.mark.parametrize("beta", BETAS)


@every
@sweep
def test_normaliser_is_exact(divergence, beta, random_world):
    world = random_world(responses=50)
    total = world.optimum(divergence, beta).exp().sum(-1)
    assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@every
@sweep
def test_stationary_on_the_support_and_no_gain_outside_it(divergence, beta, random_world):
    world = random_world(1, responses=50)
    log_p = world.optimum(divergence, beta)
    slope = divergence.f_prime(log_p - world.reference_log_probs)
    multiplier = world.reward / beta - slope  # λ/beta wherever p > 0
    support = log_p > -torch.inf
    if divergence.slope_at_zero == -torch.inf:
        assert support.all()
    for c in range(3):
        inside = multiplier[c][support[c]]
        # f' near its bound, or of a tiny probability, holds λ to the rounding of r/beta and of f'.
        spread = (slope[c][support[c]].abs() + world.reward[c].abs().max() / beta).max()
        assert inside.max() - inside.min() <= 1e-12 * spread + 1e-12
        assert (multiplier[c][~support[c]] <= inside.max() + 1e-9).all()


def test_a_finite_slope_at_zero_drops_the_worst_responses(random_world):
    world = random_world(2)
    log_p = world.optimum(alpha(-1.0), 0.2)
    dropped = log_p == -torch.inf
    assert dropped.any()
    best_dropped = torch.where(dropped, world.reward, -torch.inf).amax(-1)
    worst_kept = torch.where(dropped, torch.inf, world.reward).amin(-1)
    assert (best_dropped < worst_kept).all()


@every
@pytest.mark.parametrize("beta", [0.1, 1.0, 10.0])
def test_no_other_policy_does_better(divergence, beta, random_world):
    world = random_world(3, contexts=1)

    def value(log_p):
        return world.expected_reward(log_p) - beta * world.divergence(log_p, divergence)

    best = world.optimum(divergence, beta)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 0.03, 0.3, 3.0):
        for _ in range(10):
            noise = torch.randn(1, 12, dtype=torch.float64, generator=generator)
            other = (best.exp().log() + size * noise).log_softmax(-1)
            assert value(other) < value(best)
    assert value(world.reference_log_probs) < value(best)


@sweep
def test_reverse_kl_is_the_gibbs_policy(beta, random_world):
    world = random_world(4, responses=50)
    gibbs = (world.reference_log_probs + world.reward / beta).log_softmax(-1)
    assert_close(world.optimum(reverse_kl, beta), gibbs, rtol=1e-12, atol=1e-12)


def test_alpha_meets_both_kullback_leiblers(random_world):
    world = random_world(5)
    for near, limit in ((1e-9, reverse_kl), (1 - 1e-9, forward_kl)):
        found = world.optimum(alpha(near), 0.3)
        assert_close(found, world.optimum(limit, 0.3), rtol=1e-6, atol=0)


@every
def test_beta_runs_from_greedy_to_the_reference(divergence, random_world):
    world = random_world(6)
    far, near = world.optimum(divergence, 1e3), world.optimum(divergence, 1e-9)
    assert total_variation(far, world.reference_log_probs).max() < 0.01
    assert world.expected_reward(near) > 0.999 * world.reward.amax(-1).mean()


@every
def test_constant_rewards_leave_the_reference(divergence):
    q = torch.tensor([[0.5, 0.3, 0.2]]).log()
    world = World(q, torch.full((1, 3), 7.0))
    assert_close(world.optimum(divergence, 0.1), world.reference_log_probs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("divergence", [forward_kl, jensen_shannon, alpha(0.5), alpha(2.0)])
def test_a_rare_best_response_far_beyond_rounding(divergence):
    """f' at the best response equals its bound to all digits of float64; its distance does not."""
    log_q = torch.tensor([[-60.0, -1.0, -2.0]], dtype=torch.float64)
    log_q = torch.cat([log_q, (1 - log_q.exp().sum(-1, keepdim=True)).log()], dim=-1)
    world = World(log_q, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    found = world.optimum(divergence, 1e-3)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert found[0, 0].exp() > 0.9
    assert (found[0, 1] - found[0, 2]).item() == pytest.approx(1, abs=1e-9)  # equal rewards


def test_scaling_the_reward_scales_beta(random_world):
    one, three = random_world(7), random_world(7, spread=3.0)
    assert_close(one.optimum(forward_kl, 0.2), three.optimum(forward_kl, 0.6))


def test_a_bounded_slope_without_its_exact_inverse_is_told(random_world):
    """With a rare best response, f' alone cannot resolve the optimum."""
    log_q = torch.tensor([[-60.0, 0.0]], dtype=torch.float64)
    blunt = replace(forward_kl, inverse_below_slope=None)
    with pytest.raises(NotConverged, match="inverse_below_slope"):
        World(log_q, torch.tensor([[1.0, 0.0]])).optimum(blunt, 1e-3)
    mild = random_world()
    assert_close(mild.optimum(blunt, 1.0), mild.optimum(forward_kl, 1.0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan")])
def test_beta_outside_its_domain_is_refused(beta, random_world):
    with pytest.raises(BadConfig, match="beta must be"):
        random_world().optimum(reverse_kl, beta)
    with pytest.raises(BadConfig, match="tau must be"):
        random_world().regression_optimum(beta)


@pytest.mark.parametrize("tau", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("kind", ["bradley_terry", "general", "flipped"])
def test_regression_optimum_of_independent_draws_is_the_closed_form(
    tau, kind, random_world, random_draws, random_preference
):
    mu = random_draws(8)
    options = {
        "bradley_terry": {},
        "general": {"preference": random_preference(8)},
        "flipped": {"flip_rate": 0.2},
    }[kind]
    world = random_world(8, pair_law=mu, **options)
    expected = (world.preferences() * mu[:, None, :]).sum(-1)  # E_{y'~mu} P(y ≻ y')
    closed = (world.reference_log_probs + expected / tau).log_softmax(-1)
    assert_close(world.regression_optimum(tau), closed, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("uniform", [True, False])
def test_regression_optimum_minimises_the_published_loss(
    uniform, random_world, random_law, random_preference
):
    law = None if uniform else random_law(9)
    world = random_world(9, pair_law=law, preference=random_preference(9))
    tau = 0.3

    def loss(log_p):
        u = log_p - world.reference_log_probs
        h, wins = u[:, :, None] - u[:, None, :], world.preferences()
        each = wins * (h - 1 / (2 * tau)) ** 2 + (1 - wins) * (-h - 1 / (2 * tau)) ** 2
        return (world.pairs() * each).sum((-2, -1))  # azar:24 eq. 17

    best = world.regression_optimum(tau).requires_grad_()
    (slope,) = torch.autograd.grad(loss(best).sum(), best)
    assert slope.abs().max() < 1e-12
    other = (best + 0.01 * torch.randn_like(best)).detach()
    assert (loss(other) > loss(best.detach())).all()


def test_regression_optimum_depends_on_the_pair_law(random_world, random_law):
    one, two = random_world(10), random_world(10, pair_law=random_law(10))
    apart = total_variation(one.regression_optimum(0.1), two.regression_optimum(0.1))
    assert apart.max() > 0.01


def test_a_path_of_pairs_connects_and_two_islands_do_not():
    q, reward = torch.full((1, 4), 0.25).log(), torch.tensor([[1.0, 0.0, 2.0, 0.0]])
    path = torch.zeros(1, 4, 4)
    path[0, [3, 1, 2], [2, 0, 1]] = 1 / 3  # 3-2, 1-0, 2-1
    u = World(q, reward, path).regression_optimum(0.5)
    want = (2 * torch.sigmoid(torch.tensor(-2.0)) - 1).double()  # P(3 ≻ 2), alone on its edge
    assert_close(u[0, 3] - u[0, 2], want, rtol=1e-6, atol=0)
    path[0, 2, 1] = 0
    with pytest.raises(BadConfig, match="connect response 0 with only 1 of the other 3"):
        World(q, reward, path * 1.5).regression_optimum(0.5)
