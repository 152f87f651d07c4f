"""calandriello:24: IPO against its own answers ends at the Nash policy, offline at a best response."""

import pytest
import torch

from collimate import methods
from collimate.lab import World, fit, total_variation

TAU = 0.2


def game(seed, responses):
    """A preference matrix without an order, and a reference."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.rand(1, responses, responses, dtype=torch.float64, generator=generator).triu(1)
    matrix = upper + (1 - upper).mT.tril(-1) + 0.5 * torch.eye(responses, dtype=torch.float64)
    log_q = torch.randn(1, responses, dtype=torch.float64, generator=generator).log_softmax(-1)
    return log_q, matrix


def against(log_q, matrix, law):
    """IPO's world with both answers drawn from `law`."""
    return World(log_q, torch.zeros_like(log_q), pair_law=law, preference=matrix)


def fixed_point(log_q, matrix, mixture, steps=60):
    """p = IPO's optimum on pairs from p^(1-m)·q^m, normalised, by damped iteration."""
    log_p = log_q
    for _ in range(steps):
        drawn = ((1 - mixture) * log_p + mixture * log_q).softmax(-1)
        best = methods.ipo(TAU).population_optimum(against(log_q, matrix, drawn))
        log_p = (0.5 * log_p + 0.5 * best).log_softmax(-1)
    return log_p


def nash(log_q, matrix, steps=1000):
    """p ∝ q·exp(P(y ≻ p)/tau), the equilibrium of the game regularised by tau·KL; mirror descent."""
    log_p = log_q
    for _ in range(steps):
        wins = (matrix * log_p.exp()[:, None, :]).sum(-1)
        log_p = (0.9 * log_p + 0.1 * (log_q + wins / TAU)).log_softmax(-1)
    return log_p


@pytest.mark.parametrize(("seed", "responses"), [(0, 5), (1, 10)])
def test_online_is_nash_offline_is_a_best_response_and_mixtures_lie_between(seed, responses):
    log_q, matrix = game(seed, responses)
    equilibrium = nash(log_q, matrix)
    apart = [
        total_variation(fixed_point(log_q, matrix, mixture), equilibrium).item()
        for mixture in (0.0, 0.25, 0.5, 1.0)
    ]
    assert apart[0] < 1e-6  # then 0.006, 0.011, 0.025 and 0.010, 0.020, 0.036
    assert apart == sorted(apart)
    offline = fit(against(log_q, matrix, log_q.exp()), methods.ipo(TAU)).log_probs
    wins = (matrix * log_q.exp()[:, None, :]).sum(-1)
    best = (log_q + wins / TAU).log_softmax(-1)
    assert total_variation(offline, best).item() < 1e-6
    assert total_variation(offline, equilibrium).item() > 0.01
    assert apart[-1] == pytest.approx(total_variation(offline, equilibrium).item(), abs=1e-6)


def test_at_nash_the_fit_moves_nothing():
    log_q, matrix = game(3, 6)
    equilibrium = nash(log_q, matrix)
    again = fit(against(log_q, matrix, equilibrium.exp()), methods.ipo(TAU)).log_probs
    assert total_variation(again, equilibrium).item() < 1e-6
