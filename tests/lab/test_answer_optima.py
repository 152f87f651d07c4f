"""Presets of labelled answers, lists, gold answers and signals: their optima, and where fits of them end."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._checks import BadComposition, BadConfig
from collimate.lab import World, descend, every_list, every_pair, every_thumb, fit, total_variation


def drawn_from_q(world, **options):
    return replace(world, pair_law=world.reference_log_probs.exp(), **options)


def one_context(random_world):
    """A context in which KL(won‖lost) is above KL(lost‖won)."""
    return drawn_from_q(random_world(2, contexts=1, responses=5))


def of_gold(method, world):
    """Gold answers of the law that the pairs by themselves lead to."""
    return replace(world, gold=method.population_optimum(world).exp())


KNOWN = {
    "apo_zero_unpaired": (
        partial(methods.apo_zero_unpaired, 0.5),
        lambda make: make(contexts=2, responses=6),
    ),
    "bco": (partial(methods.bco, 0.5), one_context),
    "d2o": (partial(methods.d2o, 0.5, 0.5), lambda make: make(contexts=4, responses=3)),
    "direct_advantage_po": (
        partial(methods.direct_advantage_po, 0.5),
        lambda make: drawn_from_q(make(contexts=2, responses=6), list_size=1),
    ),
    "kto": (
        partial(methods.kto, 0.5, 1.0, 0.9),
        lambda make: drawn_from_q(make(contexts=2, responses=4)),
    ),
    "plackett_luce": (
        partial(methods.plackett_luce, 0.5),
        lambda make: drawn_from_q(make(contexts=2, responses=6)),
    ),
    "tdpo1": (partial(methods.tdpo1, 0.5), lambda make: make(contexts=1, responses=4)),
    "tpo": (
        partial(methods.tpo, 0.5, 0.7),
        lambda make: of_gold(methods.cpl(0.5), make(contexts=2, responses=5)),
    ),
    "tpo_l": (
        partial(methods.tpo_l, 1.0, 0.5, 0.7),
        lambda make: of_gold(methods.simpo(1.0, 0.5), make(contexts=4, responses=2)),
    ),
    "wpo": (partial(methods.wpo, 0.5), lambda make: make(contexts=1, responses=4)),
}


def starts(world, seeds=3):
    """The reference, and policies far from it."""
    generator = torch.Generator().manual_seed(99)
    shape = (seeds, *world.reward.shape)
    far = 1.5 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return [world.reference_log_probs, *far.log_softmax(-1)]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_fits_from_everywhere_end_at_the_stated_optimum(name, random_world):
    preset, world = KNOWN[name][0](), KNOWN[name][1](random_world)
    optimum = preset.population_optimum(world)
    assert_close(optimum.exp().sum(-1), torch.ones(len(optimum), dtype=torch.float64))
    ends = [fit(world, preset, initial=start).log_probs for start in starts(world)]
    assert max(total_variation(end, optimum).max().item() for end in ends) < 1e-8


# Written anew: the population loss of each kind as its publication has it, minimised by L-BFGS.


def tables(world):
    """won, lost, q, r of the only context."""
    labels = world.labels()[0]
    return labels.sum(-1), labels.sum(-2), world.reference_log_probs[0].exp(), world.reward[0]


def least(loss, n):
    """log p of least loss, from the uniform policy."""
    logits = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    options = {"line_search_fn": "strong_wolfe", "max_iter": 500}
    optimizer = torch.optim.LBFGS([logits], tolerance_grad=1e-11, tolerance_change=0, **options)

    def closure():
        optimizer.zero_grad()
        value = loss(logits.log_softmax(-1))
        value.backward()
        return value

    optimizer.step(closure)
    return logits.detach().log_softmax(-1)


def bco_by_hand(world, beta):
    """Its shift by bisection: the one that is the mean of u at the minimiser for it."""
    won, lost, q, _ = tables(world)

    def found(d):
        def loss(log_p):
            z = beta * (log_p - q.log()) - beta * d
            return -(won * torch.sigmoid(z).log() + lost * torch.sigmoid(-z).log()).sum()

        return least(loss, len(q))

    low, high = -10.0, 10.0
    for _ in range(40):
        d = (low + high) / 2
        mean = ((won + lost) / 2 * (found(d) - q.log())).sum().item()
        low, high = (d, high) if mean > d else (low, d)
    return found(d)


def direct_by_hand(world, beta):
    _, _, q, r = tables(world)
    advantage = r - (q * r).sum()
    return least(lambda log_p: (q * (advantage / beta - log_p + q.log()) ** 2).sum(), len(q))


def rankings_by_hand(world, cost):
    """The mean of cost(u, places), best first, over lists whose answers are drawn by the pair law."""
    _, _, q, r = tables(world)
    law = torch.ones_like(q) if world.pair_law is None else q
    orders = list(itertools.permutations(range(len(q)), world.list_size))
    weights = []
    for order in orders:
        e = r[list(order)].exp()
        weights.append(
            law[list(order)].prod() * math.prod(e[k] / e[k:].sum() for k in range(len(e)))
        )
    total = sum(weights)

    def loss(log_p):
        u = log_p - q.log()
        return sum(w / total * cost(u, order) for w, order in zip(weights, orders, strict=True))

    return least(loss, len(q))


def d2o_by_hand(world, beta):
    def cost(u, order):
        return torch.log1p(torch.exp(-beta * (u[list(order[:-1])].mean() - u[order[-1]])))

    return rankings_by_hand(world, cost)


def plackett_luce_by_hand(world, beta):
    def cost(u, order):
        e = torch.exp(beta * u[list(order)])
        return -sum((e[k] / e[k:].sum()).log() for k in range(len(e)))

    return rankings_by_hand(world, cost)


BY_HAND = {
    "bco": (bco_by_hand, one_context),
    "d2o": (d2o_by_hand, lambda make: make(contexts=1, responses=3)),
    "direct_advantage_po": (
        direct_by_hand,
        lambda make: drawn_from_q(make(contexts=1, responses=5), list_size=1),
    ),
    "plackett_luce": (
        plackett_luce_by_hand,
        lambda make: drawn_from_q(make(contexts=1, responses=4)),
    ),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_optima_are_those_of_losses_written_by_hand(name, random_world):
    by_hand, make = BY_HAND[name]
    world = make(random_world)
    found = KNOWN[name][0]().population_optimum(world)
    assert total_variation(found, by_hand(world, 0.5)[None]).item() < 1e-6
