"""The fit finds the optimum that theory gives, or says that it did not."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._checks import BadComposition, NotConverged
from collimate._types import PairLogProbs
from collimate.axes import Needs, Term
from collimate.compose import Method
from collimate.divergences import alpha, forward_kl, jensen_shannon, reverse_kl
from collimate.lab import fit, total_variation

DIVERGENCES = {d.name: d for d in (reverse_kl, forward_kl, jensen_shannon, alpha(0.5))}


def distance(found, method, world):
    return total_variation(found.log_probs, method.population_optimum(world)).max().item()


@pytest.mark.parametrize("beta", [0.5, 1.0])
@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("responses", [2, 10, 50])
def test_f_dpo_reaches_its_population_optimum(name, beta, responses, random_world):
    method = methods.f_dpo(beta, DIVERGENCES[name])
    for seed in range(3):
        world = random_world(seed, contexts=2, responses=responses)
        found = fit(world, method)
        assert found.gradient_norm <= 1e-12
        assert distance(found, method, world) < 1e-6  # the bar is 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_f_dpo_over_many_contexts(name, beta, random_world):
    method = methods.f_dpo(beta, DIVERGENCES[name])
    world = random_world(3, contexts=20, responses=50)
    assert distance(fit(world, method), method, world) < 1e-6


@pytest.mark.parametrize("preset", [methods.dpo, methods.f_dpo_js], ids=lambda p: p.__name__)
def test_presets_reach_their_optimum(preset, random_world):
    world = random_world(contexts=2, responses=20)
    assert distance(fit(world, preset(0.5)), preset(0.5), world) < 1e-8


def test_chi_po_reaches_its_optimum(random_world):
    world = random_world(contexts=2, responses=20)
    method = methods.chi_po(1.0)
    assert distance(fit(world, method), method, world) < 1e-6


def test_rdpo_finds_the_clean_optimum_under_flips_and_dpo_does_not(random_world):
    world = random_world(contexts=2, responses=10)
    flipped = replace(world, flip_rate=0.2)
    method = methods.rdpo(1.0, 0.2)
    assert method.population_optimum(world) is None  # it undoes flips that are not there
    assert distance(fit(flipped, method), method, flipped) < 1e-6
    clean = methods.dpo(1.0).population_optimum(world)
    dpo = fit(flipped, methods.dpo(1.0)).log_probs
    assert total_variation(dpo, clean).max().item() > 0.01


def test_the_optimum_does_not_depend_on_the_pair_law_for_dpo(random_world, random_law):
    world = random_world(pair_law=random_law())
    assert distance(fit(world, methods.dpo(0.5)), methods.dpo(0.5), world) < 1e-8


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_ipo_reaches_the_regression_optimum_with_any_labels(
    tau, random_world, random_law, random_draws, random_preference
):
    for options in (
        {},
        {"pair_law": random_law(), "flip_rate": 0.2},
        {"pair_law": random_draws(), "preference": random_preference()},
    ):
        world = random_world(**options)
        assert distance(fit(world, methods.ipo(tau)), methods.ipo(tau), world) < 1e-9


def test_dpo_and_cdpo_have_no_stated_optimum_but_a_fit_under_flips(random_world):
    """At the optimum each response's flipped preferences are fitted in their mean."""
    world = random_world(flip_rate=0.1)
    assert methods.dpo(0.5).population_optimum(world) is None
    assert methods.cdpo(0.5).population_optimum(world) is None
    found = fit(world, methods.dpo(0.5))
    u = found.log_probs - world.reference_log_probs
    fitted = torch.sigmoid(0.5 * (u[:, :, None] - u[:, None, :]))
    miss = (world.preferences() - fitted).sum(-1)
    assert miss.abs().max() < 1e-8


def test_cdpo_on_clean_labels_is_dpo_under_flips(random_world):
    smoothed = fit(random_world(), methods.cdpo(0.5, 0.1))
    flipped = fit(random_world(flip_rate=0.1), methods.dpo(0.5))
    assert_close(smoothed.log_probs, flipped.log_probs, rtol=0, atol=1e-7)
    assert smoothed.loss == pytest.approx(flipped.loss, rel=1e-10)


def test_loss_is_the_population_mean(random_world):
    world, method = random_world(), methods.dpo(0.5)
    found = fit(world, method)
    u = found.log_probs - world.reference_log_probs
    z = 0.5 * (u[:, :, None] - u[:, None, :])
    each = -world.preferences() * torch.nn.functional.logsigmoid(z)
    law = world.pairs()
    assert found.loss == pytest.approx(((law + law.mT) * each).sum((-2, -1)).mean().item())


def test_gradient_norm_is_that_of_autograd(random_world):
    """Stopped early, so that there is a gradient to compare."""
    world, method = random_world(contexts=1), methods.f_dpo(0.5, forward_kl)
    start = torch.randn(1, 12, dtype=torch.float64).log_softmax(-1)
    stopped = fit(world, method, initial=start, max_iterations=2, tolerance=1e3)
    assert stopped.iterations == 0
    logits = start.clone().requires_grad_()
    log_p = logits.log_softmax(-1)
    slope = forward_kl.f_prime(log_p - world.reference_log_probs)
    z = 0.5 * (slope[:, :, None] - slope[:, None, :])
    law = world.pairs()
    each = -world.preferences() * torch.nn.functional.logsigmoid(z)
    loss = ((law + law.mT) * each).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert stopped.loss == pytest.approx(loss.item())
    assert stopped.gradient_norm == pytest.approx(gradient.norm().item(), rel=1e-9)


def test_starving_is_told_with_the_gradient_norm_and_a_way_out(random_world):
    with pytest.raises(NotConverged, match=r"gradient norm of \d.*larger beta \(initial="):
        fit(random_world(responses=50), methods.f_dpo(0.5, forward_kl), max_iterations=3)


def test_a_hinge_has_no_vanishing_gradient_and_says_so(random_world):
    with pytest.raises(NotConverged, match="hinge_norm"):
        fit(random_world(), methods.hinge_norm(0.5), max_iterations=100)


def test_continuation_in_beta(random_world):
    world, method = random_world(contexts=1, responses=30), methods.f_dpo(0.02, forward_kl)
    policy = None
    for beta in (1.0, 0.2, 0.05, 0.02):
        policy = fit(world, methods.f_dpo(beta, forward_kl), initial=policy).log_probs
    assert total_variation(policy, method.population_optimum(world)).max() < 1e-6


def test_any_function_of_pairs_can_be_fitted(random_world):
    def squared_error(view):
        chosen, rejected = view.log_ratios()
        return (chosen - rejected - 1 / (2 * 0.3)) ** 2

    world = random_world()
    found = fit(world, Method.of(squared_error))
    assert distance(found, methods.ipo(0.3), world) < 1e-9


class TwoTerms:
    """dpo and twice ipo, as two terms with their own weights: what only the protocol shows."""

    name = "two_terms"
    needs = Needs()

    def __call__(self, view):
        return methods.dpo(0.5)(view)

    def init(self):
        return {}

    def terms(self, view, state):
        weight = view.columns["weight"]
        return {
            "dpo": Term(1.0, methods.dpo(0.5)(view), weight),
            "ipo": Term(2.0, methods.ipo(0.5)(view), 7 * weight),
        }

    def update(self, view, state):
        return state

    def measure(self, view, state):
        return {}


def test_terms_add_with_their_coefficients(random_world):
    world = random_world()
    found = fit(world, TwoTerms())
    u = (found.log_probs - world.reference_log_probs).requires_grad_()
    h = u[:, :, None] - u[:, None, :]
    each = -torch.nn.functional.logsigmoid(0.5 * h) + 2 * (h - 1) ** 2
    law = world.pairs()
    loss = ((law + law.mT) * world.preferences() * each).sum()
    (gradient,) = torch.autograd.grad(loss, u)
    assert gradient.abs().max() < 1e-9
    assert found.loss == pytest.approx(loss.item() / 3)


def test_coupled_methods_and_other_views_are_refused(random_world):
    def centred(view):
        gap = view.policy_chosen - view.policy_rejected
        return (gap - gap.mean()) ** 2

    with pytest.raises(BadComposition, match="couples the pairs"):
        fit(random_world(), Method.of(centred))
    tokens = replace(Method.of(lambda view: view.policy_chosen), needs=Needs(view="tokens"))
    with pytest.raises(BadComposition, match="reads a view of tokens"):
        fit(random_world(), tokens)


def test_the_view_has_every_pair_once_with_its_probability(random_world, random_law):
    seen = []

    def spy(view: PairLogProbs):
        if "weight" in view.columns:
            seen.append(view)
        return methods.dpo(0.5)(view)

    fit(random_world(contexts=2, responses=3, pair_law=random_law(contexts=2, responses=3)),
        Method.of(spy))  # fmt: skip
    view = seen[0]
    assert len(view) == 2 * 3 * 3
    assert view.columns["weight"].sum().item() == pytest.approx(2)
