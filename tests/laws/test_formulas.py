"""Every part says itself in text, and the text says what the part computes."""

import inspect
import math
from dataclasses import replace
from operator import attrgetter

import numpy as np
import pytest
import torch

from collimate import divergences, losses, margins, methods, tradeoffs
from collimate._formula import identifiers, read
from collimate.axes import PerUnit
from collimate.divergences import FDivergence, PlainDivergence
from collimate.divergences.f_divergence import scaled
from collimate.losses import Loss
from collimate.margins import Margin
from collimate.signals import divergence_to_reference
from collimate.token_masks import sparse_mask
from collimate.tradeoffs import Fixed
from tests.formulas import evaluate, names_of
from tests.methods.answers import lists, thumbs
from tests.methods.test_published_equations import pairs

KL = divergence_to_reference(divergences.forward_kl)
MASK = margins.TokenMask(sparse_mask("mask"), "m_i")
MASKS = [margins.TokenMask(sparse_mask("kl_mask"), "k_i")]

# Parts with numbers of their own, by the function that makes them: a new one needs a line here.
MADE = {
    "alpha": [divergences.alpha(a) for a in (-1.0, -0.5, 0.0, 0.3, 1.0, 2.0)],
    "generalized_jensen_shannon": [
        divergences.generalized_jensen_shannon(b) for b in (0.0, 0.1, 0.5, 0.8, 1.0)
    ],
    "skewed_jensen_shannon": [
        divergences.skewed_jensen_shannon(w, a)
        for w, a in ((0.5, 0.5), (0.2, 0.1), (0.7, 0.9), (1.0, 0.1), (0.5, 0.0), (0.5, 1.0))
    ],
    "skewed_forward_kl": [divergences.skewed_forward_kl(a) for a in (0.0, 0.1)],
    "skewed_reverse_kl": [divergences.skewed_reverse_kl(a) for a in (0.0, 0.1)],
    "renyi": [divergences.renyi(order) for order in (0.5, 1, 2.5)],
    "squared": [losses.squared(unit) for unit in (1.0, 0.05, 3.7)],
    "smoothed_logistic": [losses.smoothed_logistic(e) for e in (0.1, 0.45)],
    "debiased_logistic": [losses.debiased_logistic(e) for e in (0.1, 0.45)],
    "bernoulli_kl": [losses.bernoulli_kl(e) for e in (1e-3, 0.2)],
    "discopop_loss": [losses.discopop_loss(tau) for tau in (0.05, 0.5)],
    "bent_log_prob_gap": [margins.bent_log_prob_gap(a) for a in (0.25, -0.5, 3)],
    "log_coverage": [margins.log_coverage(n) for n in (1, 8)],
    "penalised_log_ratio_gap": [margins.penalised_log_ratio_gap(lam) for lam in (0, 5.5)],
    "length_desensitised_log_ratio_gap": [
        margins.length_desensitised_log_ratio_gap(a) for a in (0.0, 0.3, 1.0)
    ],
    "discounted_log_prob_gap": [
        margins.discounted_log_prob_gap(*p) for p in ((1.0, 1.0), (0.9, 0.5))
    ],
    "length_target": [margins.length_target(a) for a in (0.01, 0.5)],
    "log_score_target": [margins.log_score_target(a) for a in (0.5, 2)],
    "score_target": [margins.score_target(a) for a in (0.5, 2)],
    "mean_over_worst_log_ratio_gap": [margins.mean_over_worst_log_ratio_gap(w) for w in (0.5, 2)],
    "sequential_kl_gap": [
        margins.sequential_kl_gap(divergence_to_reference(divergences.forward_kl), w)
        for w in (0.5, 1)
    ],
    "elastic": [margins.elastic(margins.log_ratio_gap, *p) for p in ((0.5, 0.2), (-1, 3.0))],
    "masked_log_ratio_gap": [margins.masked_log_ratio_gap(KL, MASK, *MASKS)],
    "absent_mask": [margins.absent_mask(MASK), margins.absent_mask(MASK, *MASKS)],
    "fixed": [tradeoffs.fixed(beta) for beta in (0.1, 3)],
}


def view_for(needs):
    """Made-up units of the view that is read."""
    return {"pairs": pairs, "thumbs": thumbs, "lists": lists}[needs.view]()


PARTS = (Loss, Margin, FDivergence, PlainDivergence, PerUnit, Fixed)
AXES = (divergences, losses, margins, tradeoffs)


def makers():
    """The functions of the axes that return a part."""
    names = {kind.__name__ for kind in PARTS}
    public = ((name, getattr(axis, name)) for axis in AXES for name in axis.__all__)
    functions = ((name, value) for name, value in public if inspect.isfunction(value))
    return {name for name, f in functions if f.__annotations__["return"] in names}


def all_of(kind):
    plain = [part for axis in AXES for part in vars(axis).values() if isinstance(part, kind)]
    return plain + [part for parts in MADE.values() for part in parts if isinstance(part, kind)]


def each(kind, name):
    return pytest.mark.parametrize(name, all_of(kind), ids=lambda part: getattr(part, "name", ""))


def agree(got, want, tolerance=1e-11):
    np.testing.assert_allclose(got, want.numpy(), rtol=tolerance, atol=tolerance)


def _called(part):
    return getattr(part, "name", "") or part.formula


def both(text):
    """A formula as it was written and as it is printed."""
    return text, str(read(text))


def test_every_function_that_makes_a_part_is_among_the_examples():
    assert makers() == set(MADE)


@pytest.mark.parametrize("part", [p for kind in PARTS for p in all_of(kind)], ids=_called)
def test_every_part_has_a_formula(part):
    assert part.formula


@pytest.mark.parametrize("name", methods.__all__)
def test_every_part_of_every_preset_has_a_formula(name):
    method = getattr(methods, name)()
    parts = [method.divergence, method.tradeoff, method.factor]
    for summand in method.summands:
        parts += [summand.margin, summand.loss, summand.margin.target_of]
    assert all(part.formula for part in parts if part is not None)


@each(Loss, "loss")
def test_a_losss_text_is_the_loss(loss):
    z = torch.linspace(-9, 9, 91, dtype=torch.float64)
    assert set(identifiers(loss.formula)) <= {"z", "s", "log", "exp", "max", "ranking"}
    z = z.view(-1, 7) if loss is losses.plackett_luce else z
    for text in both(loss.formula):
        agree(evaluate(text, z=z.numpy(), **names_of(lists())), loss(z))


CLOSED = [d for d in all_of(FDivergence) if d.slope_at_zero == -math.inf and "e-0" not in d.name]


@pytest.mark.parametrize(
    ("margin", "divergence"),
    [(m, d) for m in all_of(Margin) for d in (CLOSED if m.closed_form else CLOSED[:1])],
    ids=attrgetter("name"),
)
def test_a_margins_text_is_the_margin(margin, divergence):
    view = view_for(margin.needs)

    def f_prime(t):
        return evaluate(divergence.formula, t=t)

    want = margin(view, divergence=divergence)
    for text in both(margin.formula):
        got = evaluate(text, f_prime=f_prime, **names_of(view))
        if margin is margins.ranked_log_ratios:  # a table: -inf here, NaN there beyond a list's end
            got, want = got[~np.isnan(got)], want[want.isfinite()]
        agree(got, want)


@each(FDivergence, "divergence")
def test_a_divergences_text_is_its_slope(divergence):
    u = torch.linspace(-7, 7, 71, dtype=torch.float64)
    for text in both(divergence.formula):
        agree(evaluate(text, t=np.exp(u.numpy())), divergence.f_prime(u))


@each(PlainDivergence, "divergence")
def test_a_plain_divergences_text_is_its_value(divergence):
    p, q = torch.randn(2, 5, 7, dtype=torch.float64).softmax(-1)
    got = evaluate(divergence.formula, p=p.numpy(), q=q.numpy())
    agree(np.broadcast_to(got, (5,)), divergence.exact(p.log(), q.log()))


@each(PerUnit, "target")
def test_a_targets_text_is_the_target(target):
    view = lists() if "score" in target.formula else pairs()
    for text in both(target.formula):
        agree(evaluate(text, **names_of(view)), target(view))


@each(Fixed, "tradeoff")
def test_a_trade_offs_text_is_its_beta(tradeoff):
    assert evaluate(tradeoff.formula) == tradeoff.beta(pairs(), tradeoff.init())


def test_scaling_a_divergence_scales_its_text_and_no_text_stays_none():
    three = scaled(divergences.alpha(0.3), 3.0, name="three", source="")
    assert evaluate(three.formula, t=2.0) == pytest.approx(10 * (1 - 2**-0.3), rel=1e-12)
    silent = replace(divergences.alpha(0.3), formula="")
    assert scaled(silent, 3.0, name="three", source="").formula == ""
