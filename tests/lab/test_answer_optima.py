"""Presets of labelled answers, lists, gold answers and signals: where fits of them end."""

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


@pytest.mark.slow
def test_kto_is_apo_zero_and_its_reference_point_is_zero(random_world):
    world = drawn_from_q(random_world(contexts=2, responses=4))
    found = methods.kto(0.5).population_optimum(world)
    apo = methods.apo_zero(0.5).population_optimum(world)
    assert total_variation(found, apo).max() < 1e-12
    view = every_thumb(world).under(fit(world, methods.kto(0.5)).log_probs)
    assert view.mismatched_log_ratios().mean() < -1
    assert methods.kto(1.5).population_optimum(world) is None


def test_a_mismatched_answer_is_any_row_s(random_world):
    world = drawn_from_q(random_world(contexts=2, responses=3))
    policy = starts(world)[1]
    law = world.reference_log_probs.exp().mean(0)
    expected = (law * (policy - world.reference_log_probs)).sum(-1)
    assert_close(every_thumb(world).under(policy).mismatched_log_ratios(), expected)


def test_bco_balances_around_its_own_mean_and_not_where_it_is_unsure(random_world):
    world = one_context(random_world)
    won, lost, q, _ = tables(world)
    found = methods.bco(0.5).population_optimum(world)[0]
    u = found - q.log()
    z = 0.5 * (u - ((won + lost) / 2 * u).sum())
    kappa = (won * torch.sigmoid(-z) - lost * torch.sigmoid(z)) / found.exp()
    assert_close(kappa, kappa[:1].expand_as(kappa), rtol=1e-8, atol=1e-12)
    assert kappa[0] > 1e-4  # the logits of win rates by themselves do not sum to 1
    surplus = ((won + lost) * (won / lost).log()).sum()
    assert surplus > 0  # KL(won‖lost) - KL(lost‖won)
    assert methods.bco(0.5).population_optimum(random_world(contexts=2, responses=3)) is None


def test_tdpo_is_pulled_back_by_what_is_left_to_learn(random_world):
    world = random_world(contexts=1, responses=4)
    q = tables(world)[2]
    found = fit(world, methods.tdpo(0.5, 0.7)).log_probs[0]
    u = found - q.log()
    missing = world.labels()[0] * torch.sigmoid(-0.5 * (u[:, None] - u))
    pull = missing.sum(-1) - missing.sum(-2)  # of DPO, on log p; it sums to 0
    back = 0.7 * missing.sum() * (q - found.exp())
    assert_close(pull + back, torch.zeros_like(pull), rtol=0, atol=1e-10)
    dpo = methods.dpo(0.5).population_optimum(world)
    assert total_variation(found[None], dpo).item() > 0.05


def test_signals_need_answers_of_one_token(random_world):
    world = replace(random_world(contexts=1, responses=3), tokens=torch.tensor([[1, 2, 1]]))
    with pytest.raises(BadComposition, match="tokens=None"):
        fit(world, methods.tdpo1(0.5))
    assert methods.tdpo1(0.5).population_optimum(world) is None


def test_tr_dpo_goes_on_with_each_move_of_its_reference(random_world):
    """Each stage ends at its reference tilted by r/beta: after k moves (1 + k·alpha)·r/beta."""
    world = random_world(contexts=2, responses=4)
    here, alpha, method = world, 0.5, methods.tr_dpo(0.5, 0.5)
    assert method.population_optimum(world) is None
    for moves in range(4):
        policy = fit(here, method).log_probs
        tilted = world.reference_log_probs + (1 + moves * alpha) * world.reward / 0.5
        assert total_variation(policy, tilted.log_softmax(-1)).max() < 1e-8
        blended = alpha * policy + (1 - alpha) * here.reference_log_probs
        here = replace(here, reference_log_probs=blended.log_softmax(-1))
    end = descend(world, methods.tr_dpo(1.0, 0.5, 150), steps=450)
    tilted = world.reference_log_probs + 2 * world.reward  # the third move has no step after it
    assert total_variation(end, tilted.log_softmax(-1)).max() < 0.05


def test_beta_dpo_is_dpo_at_its_first_step_alone(random_world):
    world = random_world(contexts=1, responses=4)
    first = fit(world, methods.beta_dpo(0.5)).log_probs
    assert total_variation(first, methods.dpo(0.5).population_optimum(world)).max() < 1e-8
    with pytest.raises(BadComposition, match=r"pairs=world\.sample_pairs"):
        descend(world, methods.beta_dpo(0.5), steps=1)


def test_gold_answers_of_another_law_have_no_optimum(random_world):
    world = random_world(contexts=1, responses=3)
    assert methods.tpo(0.5).population_optimum(world) is None
    best = every_pair(world, gold=True)
    assert set(best.gold.tolist()) == {int(world.reward.argmax())}
    assert best.view.columns["weight"].sum().item() == pytest.approx(1)


def test_lists_are_refused_where_no_reward_ranks_them(random_world, random_law):
    flipped = random_world(contexts=1, responses=3, flip_rate=0.1)
    with pytest.raises(BadComposition, match="flips labels"):
        every_list(flipped)
    assert methods.plackett_luce(0.5).population_optimum(flipped) is None
    paired = random_world(contexts=1, responses=3, pair_law=random_law(contexts=1, responses=3))
    with pytest.raises(BadComposition, match="one by one"):
        every_list(paired)
    with pytest.raises(BadConfig, match="list_size"):
        World(paired.reference_log_probs, paired.reward, list_size=0)


@pytest.mark.parametrize("preset", [methods.bco, methods.mpo], ids=["bco", "mpo"])
def test_a_unit_of_weight_two_is_two_units(preset, random_world):
    """What lets a fit read the shift of BCO and MPO from probabilities."""
    world, method = random_world(contexts=1, responses=3), preset(0.5)
    units = every_thumb(world) if method.needs.view == "thumbs" else every_pair(world)
    twice = torch.arange(len(units.places[0])).repeat(2)[: len(units.places[0]) + 1]
    if method.needs.view == "thumbs":
        whole = units.under(starts(world)[1])
        cut = replace(
            whole,
            policy=whole.policy[twice],
            reference=whole.reference[twice],
            label=whole.label[twice],
            tokens=whole.tokens[twice],
            columns={"weight": halved(whole.columns["weight"][twice])},
        )
    else:
        whole = units.under(starts(world)[1])
        names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected",
                 "chosen_tokens", "rejected_tokens")  # fmt: skip
        rows = {name: getattr(whole, name)[twice] for name in names}
        cut = replace(
            whole, **rows, columns={"weight": halved(whole.columns["weight"][twice])}, tokens=None
        )

    def loss(view):
        terms = method.terms(view, {}).values()
        return sum(t.coefficient * (t.values * t.weight).sum() / t.weight.sum() for t in terms)

    assert_close(loss(cut), loss(whole))


def halved(weight):
    """The first unit and its copy, the last, with half the weight each."""
    return torch.cat([weight[:1] / 2, weight[1:-1], weight[-1:] / 2])
