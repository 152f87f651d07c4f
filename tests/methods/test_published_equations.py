"""Every preset is its publication's equation, written here naively from ratios of probabilities."""

import math
from collections.abc import Callable
from operator import attrgetter

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._checks import BadConfig
from collimate._types import PairLogProbs
from collimate.compose import Method
from collimate.divergences import alpha, forward_kl, jensen_shannon, reverse_kl

BETAS = (0.05, 0.1, 0.5, 2.0)


def pairs(dtype=torch.float64, count=200):
    generator = torch.Generator().manual_seed(7)
    numbers = torch.randn(4, count, dtype=torch.float64, generator=generator).mul(0.7).sub(3)
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    return PairLogProbs(**{k: v.to(dtype) for k, v in zip(names, numbers, strict=True)})


def ratios(view):
    chosen = view.policy_chosen.exp() / view.reference_chosen.exp()
    return chosen, view.policy_rejected.exp() / view.reference_rejected.exp()


def sigmoid(z):
    return 1 / (1 + torch.exp(-z))


def dpo(view, beta):
    w, l = ratios(view)  # noqa: E741 - the paper's letters
    return -torch.log(sigmoid(beta * torch.log(w) - beta * torch.log(l)))  # rafailov:23 eq. 7


def f_dpo(slope: Callable) -> Callable:
    def published(view, beta):
        w, l = ratios(view)  # noqa: E741
        return -torch.log(sigmoid(beta * slope(w) - beta * slope(l)))  # wang:24 eq. 8

    return published


def cdpo(view, beta, smoothing):
    w, l = ratios(view)  # noqa: E741
    z = beta * torch.log(w) - beta * torch.log(l)  # mitchell:23 eq. 6
    return -(1 - smoothing) * torch.log(sigmoid(z)) - smoothing * torch.log(sigmoid(-z))


def ipo(view, tau):
    w, l = ratios(view)  # noqa: E741
    h = torch.log(w * (1 / l))  # azar:24 eq. 17
    return (h - 1 / (2 * tau)) ** 2


def hinge_norm(view, gamma):
    w, l = ratios(view)  # noqa: E741
    gap = gamma * torch.log(w) - gamma * torch.log(l)  # liu:24 eq. 10 (RSO's hinge-norm)
    return torch.maximum(torch.zeros_like(gap), 1 - gap)


def js_paper(t):
    return torch.log(2 * t / (1 + t))  # wang:24 table 1


# name in the registry -> (preset, its equation), both of (view, beta)
PUBLISHED = {
    "dpo": [(methods.dpo, dpo)],
    "f_dpo": [
        (lambda beta: methods.f_dpo(beta, reverse_kl), f_dpo(lambda t: torch.log(t) + 1)),
        (lambda beta: methods.f_dpo(beta, forward_kl), f_dpo(lambda t: -1 / t)),
        (lambda beta: methods.f_dpo(beta, alpha(0.3)), f_dpo(lambda t: (1 - t**-0.3) / 0.3)),
        (lambda beta: methods.f_dpo(beta, alpha(0.5)), f_dpo(lambda t: (1 - t**-0.5) / 0.5)),
        (lambda beta: methods.f_dpo(2 * beta, jensen_shannon), f_dpo(js_paper)),
    ],
    "f_dpo_js": [(methods.f_dpo_js, f_dpo(js_paper))],
    "cdpo": [
        (lambda beta: methods.cdpo(beta, 0.1), lambda view, beta: cdpo(view, beta, 0.1)),
        (lambda beta: methods.cdpo(beta, 0.4), lambda view, beta: cdpo(view, beta, 0.4)),
    ],
    "ipo": [(methods.ipo, ipo)],
    "hinge_norm": [(methods.hinge_norm, hinge_norm)],
}
CASES = [(name, *case) for name, cases in PUBLISHED.items() for case in cases]
PRESETS = [preset(0.1) for _, preset, _ in CASES]

every = pytest.mark.parametrize("method", PRESETS, ids=attrgetter("name"))


def test_every_registered_preset_has_its_equation_here():
    assert set(PUBLISHED) == set(methods.__all__)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(("name", "preset", "equation"), CASES, ids=[c[0] for c in CASES])
def test_preset_is_the_published_equation(name, preset, equation, beta):
    view = pairs()
    method = preset(beta)
    assert method.name == name
    # 1e-15: what 1 + exp(-z) rounds away in the naive form
    assert_close(method(view), equation(view, beta), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("beta", BETAS)
def test_the_papers_jensen_shannon_is_ours_at_twice_beta(beta):
    view = pairs()
    assert torch.equal(methods.f_dpo_js(beta)(view), methods.f_dpo(2 * beta, jensen_shannon)(view))
    chosen, rejected = view.log_ratios()
    link = [math.log(2) + torch.nn.functional.logsigmoid(u) for u in (chosen, rejected)]
    published = -torch.nn.functional.logsigmoid(beta * link[0] - beta * link[1])
    assert_close(methods.f_dpo_js(beta)(view), published, rtol=1e-12, atol=0)


def test_dpo_is_f_dpo_under_the_reverse_kl_and_cdpo_tends_to_dpo():
    view = pairs()
    assert torch.equal(methods.dpo(0.3)(view), methods.f_dpo(0.3)(view))
    assert_close(methods.cdpo(0.3, 1e-12)(view), methods.dpo(0.3)(view), rtol=1e-9, atol=0)
    assert_close(methods.f_dpo(0.3, alpha(1e-10))(view), methods.dpo(0.3)(view), rtol=1e-7, atol=0)
    assert_close(
        methods.f_dpo(0.3, alpha(1.0))(view),
        methods.f_dpo(0.3, forward_kl)(view),
        rtol=1e-12,
        atol=0,
    )


@every
def test_first_loss_is_the_loss_of_equal_policies(method):
    reference = pairs()
    view = PairLogProbs(
        policy_chosen=reference.reference_chosen,
        policy_rejected=reference.reference_rejected,
        reference_chosen=reference.reference_chosen,
        reference_rejected=reference.reference_rejected,
    )
    known = {"ipo": 25.0, "hinge_norm": 1.0}  # beta 0.1; log 2 for the logistic losses
    want = torch.full_like(reference.policy_chosen, known.get(method.name, math.log(2)))
    assert_close(method(view), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "method",
    [*PRESETS, methods.f_dpo(0.5, alpha(2.0)), methods.f_dpo(0.5, alpha(3.0))],
    ids=attrgetter("name"),
)
def test_loss_and_gradient_are_finite_to_a_thousand_nats(method, dtype):
    u = torch.tensor([1000.0, -1000.0, 1000.0, -1000.0, 0.0], dtype=dtype)
    v = torch.tensor([1000.0, -1000.0, -1000.0, 1000.0, -1000.0], dtype=dtype)
    view = PairLogProbs(
        policy_chosen=u.requires_grad_(),
        policy_rejected=v.requires_grad_(),
        reference_chosen=torch.zeros_like(u),
        reference_rejected=torch.zeros_like(u),
    )
    loss = method(view)
    slopes = torch.autograd.grad(loss.sum(), (u, v))
    assert loss.dtype == dtype
    for numbers in (loss, *slopes):
        assert numbers.isfinite().all()


@every
def test_terms_are_the_loss_with_the_data_weights(method):
    view = pairs()
    weight = torch.linspace(0, 2, len(view), dtype=torch.float64)
    weighted = PairLogProbs(
        policy_chosen=view.policy_chosen,
        policy_rejected=view.policy_rejected,
        reference_chosen=view.reference_chosen,
        reference_rejected=view.reference_rejected,
        columns={"weight": weight},
    )
    (plain,) = method.terms(view, method.init()).values()
    (term,) = method.terms(weighted, method.init()).values()
    assert plain.coefficient == term.coefficient == 1.0
    assert torch.equal(plain.weight, torch.ones_like(weight))
    assert torch.equal(term.weight, weight)
    assert torch.equal(term.values, method(view))


@every
def test_measured_reward_gap_is_beta_times_the_margin(method):
    view = pairs()
    measured = method.measure(view, method.init())
    beta = method.tradeoff.beta(view, method.init())
    assert_close(measured["reward_gap"], beta * method.margin(view, divergence=method.divergence))
    assert not measured["linear_continuation"].any()


@pytest.mark.parametrize("name", methods.__all__)
@pytest.mark.parametrize("beta", [0.0, -0.1, math.inf, math.nan])
def test_beta_outside_its_domain_is_refused(name, beta):
    with pytest.raises(BadConfig, match=r"(beta|unit) must be"):
        getattr(methods, name)(beta)


@pytest.mark.parametrize("name", methods.__all__)
def test_registered_presets_work_with_their_defaults_and_are_methods(name):
    method = getattr(methods, name)()
    assert isinstance(method, Method)
    assert method.name == name
    assert method.source
    assert len(method(pairs())) == 200
