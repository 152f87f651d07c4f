"""Descending by gradients: where a fit can check it, and where only it can go."""

import numpy as np
import pytest
import torch

from collimate import methods
from collimate._checks import BadComposition, BadConfig
from collimate.axes import Needs
from collimate.compose import Method
from collimate.lab import World, descend, drawn_pairs, every_pair, fit, total_variation


def test_it_ends_where_the_fit_does(random_world):
    world = random_world(contexts=2, responses=4)
    start = torch.zeros_like(world.reward).log_softmax(-1)
    for method in (methods.dpo(1.0), methods.orpo(0.5)):
        end = descend(world, method, initial=start, steps=150)
        assert total_variation(end, fit(world, method).log_probs).max() < 5e-3  # measured 1e-3


def test_the_hinge_builds_a_staircase(random_world):
    """A linear programme with integer vertices: beta·u differs by whole numbers."""
    q = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    world = World(q.log(), torch.tensor([[0.0, 0.4, 2.0, 5.0]]), q)
    end = descend(world, methods.hinge_norm(0.5), steps=400)
    stairs = 0.5 * (end - world.reference_log_probs)
    stairs = stairs - stairs[:, :1]
    assert (stairs - stairs.round()).abs().max() < 0.02
    assert len(stairs.round().unique()) > 1


def test_coupled_methods_descend_on_drawn_pairs(random_world):
    world = random_world(contexts=1, responses=3)
    with pytest.raises(BadComposition, match=r"pairs=world\.sample_pairs"):
        descend(world, methods.aot(0.5), steps=1)
    pairs = world.sample_pairs(200, np.random.default_rng(0))
    seen = drawn_pairs(world, pairs)
    end = descend(world, methods.aot(0.5), pairs, steps=100)

    def loss(log_probs):
        return methods.aot(0.5)(seen.under(log_probs)).mean()

    assert loss(end) < loss(world.reference_log_probs) - 1e-3


def test_other_views_and_rates_are_refused(random_world):
    whole = Method.of(lambda view: view.policy_chosen)
    object.__setattr__(whole, "needs", Needs(view="batch"))
    with pytest.raises(BadComposition, match="reads a view of batch"):
        descend(random_world(), whole)
    pairs = random_world().sample_pairs(3, np.random.default_rng(0))
    with pytest.raises(BadComposition, match="pairs were given"):
        descend(random_world(), methods.kto(0.5), pairs)
    with pytest.raises(BadConfig, match="rate"):
        descend(random_world(), methods.dpo(0.5), rate=0.0)


def test_drawn_pairs_are_the_population_in_the_long_run(random_world):
    world = random_world(contexts=2, responses=3)
    every, some = every_pair(world), drawn_pairs(
        world, world.sample_pairs(200_000, np.random.default_rng(1))
    )  # fmt: skip
    policy = torch.randn(2, 3, dtype=torch.float64).log_softmax(-1)
    method = methods.dpo(0.5)
    population = every.under(policy)
    weight = population.columns["weight"]
    expected = ((weight * method(population)).sum() / weight.sum()).item()
    assert method(some.under(policy)).mean().item() == pytest.approx(expected, abs=5e-3)


def test_a_view_has_lengths_margins_and_tokens(random_world):
    world = random_world(contexts=1, responses=3)
    world = World(world.reference_log_probs, world.reward, tokens=torch.tensor([[1, 2, 5]]))
    policy = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    view = every_pair(world).under(policy)
    assert len(view) == 6
    chosen = torch.tensor([0, 0, 1, 1, 2, 2])
    assert view.chosen_tokens.tolist() == world.lengths()[0, chosen].tolist()
    sums = view.tokens.sums(view.tokens.log_prob).view(-1, 2)
    torch.testing.assert_close(sums[:, 0], view.policy_chosen)
    torch.testing.assert_close(sums[:, 1], view.policy_rejected)
    gap = world.reward[0, 0] - world.reward[0, 1]
    assert view.columns["margin"][0].item() == pytest.approx(gap.item())
