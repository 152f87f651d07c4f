"""rho:25: MADPO spreads hard pairs; that it pulls easy ones together does not show."""

import math

import torch

from collimate import methods
from collimate._types import PairLogProbs
from collimate.lab import World


def margins_of(method, beta=0.5, pairs=400):
    """beta·h of hard and of easy pairs, after a fit of a linear implicit reward to exact labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, pairs, 6, dtype=torch.float64, generator=generator)
    x[0, :, 3:] *= 0.02  # hard pairs differ in what matters little
    x[1, :, :3] *= 0.2
    truth = torch.tensor([0.3, -0.2, 0.1, 9.0, -6.0, 7.5], dtype=torch.float64)
    x = x * (x @ truth).sign()[..., None]  # the better answer first
    gap = (x @ truth).flatten()
    label = torch.cat([torch.sigmoid(gap), torch.sigmoid(-gap)])
    theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        h = (x @ theta).flatten()
        both = torch.cat([h, -h])
        zero = torch.zeros_like(both)
        view = PairLogProbs(
            policy_chosen=both,
            policy_rejected=zero,
            reference_chosen=zero,
            reference_rejected=zero,
            columns={"margin": torch.cat([gap, -gap])},
        )
        loss = (label * method(view)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    hard, easy = (beta * x @ theta.detach()).mean(-1).tolist()
    return hard, easy


def test_hard_pairs_are_spread_and_easy_ones_too():
    """Measured beta·h of hard and easy pairs: DPO 0.35 and 11.0, MADPO 0.69 and 21.5.

    One parameter serves both, and below tau = 6.9 every pair asks for up to c_max = 2 times its gap.
    """
    dpo, madpo = margins_of(methods.dpo(0.5)), margins_of(methods.madpo(0.5))
    assert madpo[0] > 1.8 * dpo[0]
    assert madpo[1] > 1.8 * dpo[1]


def test_no_pair_by_itself_is_pulled_together_by_more_than_a_hundredth():
    """Above tau the weights of both labels are almost 1: the optimum is g - 0.005 at the least."""
    g = torch.linspace(0.05, 15, 300, dtype=torch.float64)
    alone = World(torch.full((300, 2), math.log(0.5)), torch.stack([g, 0 * g], -1))
    optimum = methods.madpo(1.0).population_optimum(alone)
    moved = optimum[:, 0] - optimum[:, 1] - g
    assert moved.min() > -0.01
    assert moved.max() > 3.0  # a gap of 5 becomes 8.3
    assert (moved[g < math.log(999)] > 0).all()
