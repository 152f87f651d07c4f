"""Each preset's stated population optimum is where a fit of its loss ends, from wherever it starts."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate.divergences import forward_kl, reverse_kl
from collimate.lab import World, balance, every_pair, fit, tilt_per_token, total_variation

BAR = 1e-4  # the promise; what is measured here is below 1e-8

# With Bradley-Terry labels, any pairs drawn and any lengths.
GENERAL = {
    "apo_zero": partial(methods.apo_zero, 0.5),
    "chi_po": partial(methods.chi_po, 1.0),
    "cpl": partial(methods.cpl, 0.5),
    "dco_pass_at_n": partial(methods.dco_pass_at_n, 4),
    "dpo": partial(methods.dpo, 0.5),
    "f_dpo": partial(methods.f_dpo, 0.5, forward_kl),
    "f_dpo_js": partial(methods.f_dpo_js, 0.5),
    "ipo": partial(methods.ipo, 0.5),
    "ipo_length_normalised": partial(methods.ipo_length_normalised, 2.0),
    "ln_dpo": partial(methods.ln_dpo, 2.0),
    "r_dpo": partial(methods.r_dpo, 0.5, 0.2),
    "rdpo": partial(methods.rdpo, 0.5, 0.1),
    "sigmoid_norm": partial(methods.sigmoid_norm, 2.0),
}
# Of single answers: with both answers drawn from q.
DRAWN_FROM_REFERENCE = {
    "bco_pair": partial(methods.bco_pair, 0.5),
    "nca_pair": partial(methods.nca_pair, 0.5),
    "sppo_hard": partial(methods.sppo_hard, 0.2),
}
# Of one token each.
OF_ONE_TOKEN = {
    "asft": partial(methods.asft, 0.5),
    "ld_dpo": partial(methods.ld_dpo, 0.5, 0.3),
}
# Where one score per response has the gap that every pair asks for: always of two responses.
OF_TWO_RESPONSES = {
    "alpha_po": partial(methods.alpha_po, 1.0, 0.5, 0.25),
    "cdpo": partial(methods.cdpo, 0.5, 0.1),
    "exo_pair": partial(methods.exo_pair, 0.5, 0.1),
    "madpo": partial(methods.madpo, 0.5, 2.0, 1.0, 3.0),
    "simpo": partial(methods.simpo, 1.0, 0.5),
}
# A large penalty: test_dpop_stays_at_the_reference.
HELD = {"dpop"}
NONE_KNOWN = {
    "aot", "aot_unpaired", "apo_down", "beta_dpo", "cal_dpo", "cpo", "discopop", "hinge_norm", "mpo",
    "odpo", "orpo", "rpo_sft", "seppo", "slic_hf", "tdpo", "tr_dpo",
}  # fmt: skip
# tests/lab/test_answer_optima.py
OF_OTHER_DATA = {
    "apo_zero_unpaired", "bco", "d2o", "direct_advantage_po", "kto", "plackett_luce", "tdpo1", "tpo",
    "tpo_l", "wpo",
}  # fmt: skip
# Masks of hidden states, which a world has none of.
ELSEWHERE = {"mapo", "sparse_po", "sparse_po_common"}


def starts(world, seeds=3):
    """The reference, and policies far from it."""
    generator = torch.Generator().manual_seed(99)
    shape = (seeds, *world.reward.shape)
    far = 1.5 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return [world.reference_log_probs, *far.log_softmax(-1)]


def miss(method, world):
    """The largest TV between the stated optimum and where fits from several starts end."""
    optimum = method.population_optimum(world)
    assert optimum is not None
    assert_close(optimum.exp().sum(-1), torch.ones(len(optimum), dtype=torch.float64))
    ends = [fit(world, method, initial=start).log_probs for start in starts(world)]
    return max(total_variation(end, optimum).max().item() for end in ends)


def random_tokens(world, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 6, world.reward.shape, generator=generator)


def test_every_preset_is_placed():
    known = {*GENERAL, *DRAWN_FROM_REFERENCE, *OF_ONE_TOKEN, *OF_TWO_RESPONSES, *HELD}
    assert known | NONE_KNOWN | OF_OTHER_DATA | ELSEWHERE == set(methods.__all__)
    assert not (known | NONE_KNOWN) & OF_OTHER_DATA
    assert not known & NONE_KNOWN


@pytest.mark.parametrize("name", sorted(NONE_KNOWN))
def test_the_others_state_none(name, random_world):
    world = random_world(contexts=1, responses=2)
    assert getattr(methods, name)().population_optimum(world) is None


@pytest.mark.parametrize("name", GENERAL)
def test_any_pairs_and_lengths(name, random_world, random_law):
    world = random_world(contexts=2, responses=8, pair_law=random_law(contexts=2, responses=8))
    world = replace(world, tokens=random_tokens(world), flip_rate=0.1 if name == "rdpo" else 0.0)
    assert miss(GENERAL[name](), world) < 1e-8


@pytest.mark.parametrize("name", DRAWN_FROM_REFERENCE)
@pytest.mark.parametrize("seed", range(3))
def test_single_answers_of_pairs_drawn_from_the_reference(name, seed, random_world):
    world = random_world(seed, contexts=2, responses=8)
    world = replace(world, pair_law=world.reference_log_probs.exp())
    assert miss(DRAWN_FROM_REFERENCE[name](), world) < 1e-8


@pytest.mark.parametrize("name", OF_ONE_TOKEN)
def test_responses_of_one_token(name, random_world, random_law):
    world = random_world(contexts=2, responses=8, pair_law=random_law(contexts=2, responses=8))
    method = OF_ONE_TOKEN[name]()
    assert miss(method, world) < 1e-8
    longer = replace(world, tokens=random_tokens(world))
    assert method.population_optimum(longer) is None


@pytest.mark.parametrize("name", OF_TWO_RESPONSES)
def test_two_responses_always_agree_and_three_do_not(name, random_world):
    method = OF_TWO_RESPONSES[name]()
    assert miss(method, random_world(contexts=4, responses=2)) < 1e-8
    assert method.population_optimum(random_world(contexts=1, responses=3)) is None


def odds_of_simpo(z, gamma):
    """P at which -P·log s(z - gamma) - (1 - P)·log s(-z - gamma) is stationary, from its slope."""
    up, down = torch.sigmoid(gamma - z), torch.sigmoid(gamma + z)
    return down / (up + down)


def own_preference(name, gaps):
    """The preference matrix under which a loss with beta·h = gaps is at every pair's minimum."""
    return {
        "dpo": lambda z: torch.sigmoid(z),
        "cdpo": lambda z: (torch.sigmoid(z) - 0.1) / 0.8,
        "exo_pair": lambda z: (1 + z / math.log(9)) / 2,
        "rdpo": lambda z: 0.1 + 0.8 * torch.sigmoid(z),
        "simpo": lambda z: odds_of_simpo(z, 0.5),
        "alpha_po": lambda z: odds_of_simpo(z, 0.5),
    }[name](gaps)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "exo_pair", "rdpo", "simpo", "alpha_po"])
def test_each_loss_is_exact_under_a_preference_model_of_its_own(name, random_world):
    """DPO's is Bradley-Terry; the others' are smoothed, linear, flipped, or bent by the margin."""
    world = random_world(contexts=2, responses=8, spread=0.3)
    gaps = world.reward[:, :, None] - world.reward[:, None, :]
    matrix = own_preference(name, gaps)
    assert matrix.min() > 0  # a preference, and no certain one
    assert miss((GENERAL | OF_TWO_RESPONSES)[name](), replace(world, preference=matrix)) < 1e-8


def test_madpo_on_rewards_of_two_levels(random_world):
    world = random_world(contexts=2, responses=8)
    world = replace(world, reward=(world.reward > 0).double())
    method = methods.madpo(0.5, 2.0, 1.0, 3.0)
    assert miss(method, world) < 1e-8
    c = 0.5 + 1.5 / (1 + 2 * math.exp(1 - 3.0))  # c(1), of rho:25
    spread = world.optimum(reverse_kl, 0.5, c * world.reward)
    assert_close(method.population_optimum(world), spread, rtol=0, atol=1e-9)


def test_ln_dpo_tilts_long_answers_more(random_world):
    world = random_world(contexts=1, responses=6)
    world = replace(world, tokens=torch.tensor([[1, 1, 2, 2, 4, 4]]))
    found = methods.ln_dpo(2.0).population_optimum(world)
    per_token = (found - world.reference_log_probs) / world.lengths()
    gaps = world.reward / 2.0
    assert_close(per_token - per_token[:, :1], gaps - gaps[:, :1], rtol=0, atol=1e-12)
    dpo = methods.dpo(2.0).population_optimum(world)
    assert total_variation(found, dpo).item() > 0.05


def test_rates_per_token_far_apart_are_normalised():
    rate = torch.tensor([[300.0, -300.0, 0.0]], dtype=torch.float64)
    tokens = torch.tensor([[1.0, 50.0, 7.0]], dtype=torch.float64)
    found = tilt_per_token(torch.zeros_like(rate), tokens, rate)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert (found[0, 0] - found[0, 2] / 7).item() == pytest.approx(300, rel=1e-12)


def test_nca_at_beta_one_is_twice_the_win_rate_and_not_the_tilt_by_reward(random_world):
    world = random_world(contexts=2, responses=8)
    q = world.reference_log_probs.exp()
    world = replace(world, pair_law=q)
    wins = (world.preferences() * q[:, None, :]).sum(-1)
    found = methods.nca_pair(1.0).population_optimum(world)
    assert_close(found.exp(), 2 * q * wins, rtol=0, atol=1e-13)
    gibbs = world.optimum(reverse_kl, 1.0)
    assert total_variation(found, gibbs).min().item() > 0.05  # measured 0.08 and 0.09


def test_sppo_does_not_reach_its_target_because_that_is_not_normalised(random_world):
    """wu:25 puts a constant in the place of log Z; the fit pays for it by the least squares."""
    world = random_world(contexts=2, responses=8)
    q = world.reference_log_probs.exp()
    world = replace(world, pair_law=q)
    wins = (world.preferences() * q[:, None, :]).sum(-1)
    found = methods.sppo_hard(0.1).population_optimum(world)
    target = (wins - 0.5) / 0.1
    assert ((q * target.exp()).sum(-1) > 1.5).all()
    u = found - world.reference_log_probs
    bend = (target - u) * 2 * q / found.exp()  # κ of the Lagrangian, one for each context
    assert_close(bend, bend[:, :1].expand_as(bend), rtol=1e-9, atol=0)
    tilted = (world.reference_log_probs + target).log_softmax(-1)
    assert total_variation(found, tilted).min().item() > 0.02


def test_pass_at_n_is_the_law_of_chosen_answers_and_more_even_with_n(random_world):
    world = random_world(contexts=1, responses=5)
    chosen = world.labels().sum(-1)
    one, four, many = (methods.dco_pass_at_n(n).population_optimum(world) for n in (1, 4, 32))
    assert_close(one.exp(), chosen, rtol=0, atol=1e-13)
    peaks = [policy.exp().amax(-1) for policy in (one, four, many)]
    assert (peaks[0] > peaks[1]).all()
    assert (peaks[1] > peaks[2]).all()


def test_apo_zero_drops_good_answers_that_lose_more_often_than_they_win(random_world):
    world = random_world(contexts=2, responses=8)
    world = replace(world, pair_law=world.reference_log_probs.exp())
    labels = world.labels()
    losing = labels.sum(-1) < labels.sum(-2)
    found = methods.apo_zero(0.5).population_optimum(world).exp()
    assert found[losing].max() < 1e-100
    assert found[~losing].min() > 1e-4  # measured 1.6e-4
    assert methods.apo_zero(1.5).population_optimum(world) is None


def test_balance_refuses_where_the_free_minimum_is_below_one():
    """Then κ is negative, and two policies can balance."""
    won = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    q = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    assert balance(q, lambda u: won * (-0.1 - u)) is None
    above = balance(q, lambda u: won * (0.1 - u))
    kappa = won * (0.1 - (above - q)) / above.exp()
    assert_close(kappa, kappa[:, :1].expand_as(kappa), rtol=1e-10, atol=0)
    rare = World(torch.tensor([[0.1, 0.9]]).log(), torch.tensor([[3.0, 0.0]]))
    assert methods.sppo_hard(0.5).population_optimum(rare) is None


def test_dpop_stays_at_the_reference():
    """q is the optimum once lam >= 2·(max P - min P)/min P, P the win rate against q."""
    q = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64)
    reward = torch.tensor([[0.0, 1.0, -0.5, 0.5]], dtype=torch.float64)
    world = World(q.log(), reward, q)
    wins = (world.preferences() * q[:, None, :]).sum(-1)
    critical = (2 * (wins.max() - wins.min()) / wins.min()).item()
    held, free = methods.dpop(0.5, 1.001 * critical), methods.dpop(0.5, 0.9 * critical)
    assert_close(held.population_optimum(world), world.reference_log_probs, rtol=0, atol=0)
    assert free.population_optimum(world) is None
    pairs = every_pair(world)

    def loss(method, log_p):
        view = pairs.under(log_p)
        return (view.columns["weight"] * method(view)).sum().item()

    up, down = wins.argmax(), wins.argmin()
    better = q.clone()  # the best answer, at the cost of the worst
    better[0, up] += 1e-4
    better[0, down] -= 1e-4
    others = [better.log(), *starts(world, 200)[1:]]
    others += [(q.log() + 1e-3 * other).log_softmax(-1) for other in others[1:]]
    assert all(loss(held, other) > loss(held, q.log()) for other in others)
    assert loss(free, better.log()) < loss(free, q.log())
