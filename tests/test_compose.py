"""Composition: what is refused and why, functions as methods, objectives, sources."""

import math
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from collimate import divergences, losses, margins, methods, tradeoffs
from collimate._checks import BadComposition, CollimateError
from collimate._types import Answer, Example, PairLogProbs
from collimate.axes import Method as AnyMethod
from collimate.citations import bibliography, cite, source_keys
from collimate.compose import Method, Objective, Part
from collimate.distributions import offline_pairs
from collimate.divergences import alpha, forward_kl
from collimate.lab import World


def view_of(count=4):
    numbers = torch.randn(4, count, dtype=torch.float64)
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    return PairLogProbs(**dict(zip(names, numbers, strict=True)))


def composed(**changes):
    parts = {
        "name": "mine",
        "distribution": offline_pairs(),
        "divergence": divergences.reverse_kl,
        "margin": margins.log_ratio_gap,
        "loss": losses.hinge,
        "tradeoff": tradeoffs.fixed(0.5),
        "source": "",
    }
    return Method(**(parts | changes))


class TotalVariation:
    """A divergence without f'."""

    name = "total_variation"
    source = ""

    def exact(self, log_p, log_q):
        return (log_p.exp() - log_q.exp()).abs().sum(-1) / 2


def test_five_choices_make_the_loss_of_beta_h_minus_target():
    view = view_of()
    method = composed(margin=replace(margins.log_ratio_gap, constant=0.25))
    h = (view.policy_chosen - view.reference_chosen) - (
        view.policy_rejected - view.reference_rejected
    )
    assert_close(method(view), (1 - (0.5 * h - 0.25)).relu())
    assert isinstance(method, AnyMethod)


def test_a_divergence_that_may_drop_answers_is_refused_with_reason_and_way_out():
    with pytest.raises(BadComposition) as refusal:
        composed(divergence=alpha(-1.0))
    message = str(refusal.value)
    reason = ("'mine'", "alpha(-1)", "f'(0+) = -1 > -inf", "log_ratio_gap")
    for part in (*reason, "use reverse_kl", "alpha(a) with a >= 0"):
        assert part in message


def test_a_divergence_without_a_slope_is_refused_with_reason_and_way_out():
    with pytest.raises(BadComposition, match=r"total_variation.*not an f-divergence.*use rev"):
        composed(divergence=TotalVariation())


@pytest.mark.parametrize("divergence", [alpha(-1.0), TotalVariation()], ids=["alpha", "tv"])
def test_a_margin_that_reads_it_otherwise_takes_any_divergence(divergence):
    composed(
        divergence=divergence,
        margin=replace(
            margins.log_ratio_gap, closed_form=False, other_reading=True, value=lambda view, d: view
        ),
    )


@pytest.mark.parametrize("preset", [methods.ln_dpo, methods.apo_zero, methods.kto, methods.ld_dpo])
def test_a_divergence_that_nobody_reads_is_refused(preset):
    with pytest.raises(BadComposition, match=r"'forward_kl' would change nothing; use reverse_kl"):
        replace(preset(), divergence=forward_kl)


def test_missing_reference_is_named():
    bare = PairLogProbs(policy_chosen=torch.zeros(1), policy_rejected=torch.zeros(1))
    with pytest.raises(BadComposition, match="reference_chosen"):
        methods.dpo()(bare)


def test_any_function_of_pairs_is_a_method():
    def gap(view):
        return (1 - (view.policy_chosen - view.policy_rejected)).relu()

    method, view = Method.of(gap), view_of()
    assert isinstance(method, AnyMethod)
    assert method.name == "gap"
    assert method.needs.couples == "example"
    assert torch.equal(method(view), gap(view))
    term = method.terms(view, method.init())["loss"]
    assert torch.equal(term.values, gap(view))
    assert torch.equal(term.weight, torch.ones(4, dtype=torch.float64))
    assert method.update(view, {}) == method.measure(view, {}) == {}


def test_weights_of_the_data_reach_a_function_method():
    weight = torch.tensor([1.0, 2.0, 0.0, 4.0], dtype=torch.float64)
    view = replace(view_of(), columns={"weight": weight})
    term = Method.of(lambda v: v.policy_chosen).terms(view, {})["loss"]
    assert torch.equal(term.weight, weight)


@pytest.mark.parametrize(
    ("function", "couples"),
    [
        (lambda v: v.policy_chosen - v.policy_rejected, "example"),
        (lambda v: v.policy_chosen / v.chosen_tokens, "example"),
        (lambda v: v.policy_chosen - v.policy_chosen.mean(), "batch"),
        (lambda v: v.policy_chosen.sort().values, "batch"),
        (lambda v: v.policy_chosen - v.log_ratios()[0].mean().clamp(min=2), "batch"),
        (lambda v: v.policy_chosen - v.log_ratios()[0].mean().clamp(max=-2), "batch"),
        (lambda v: v.policy_chosen * v.columns["rater"], "batch"),  # unmeasurable: the safe answer
    ],
    ids=["own", "tokens", "mean", "sort", "clamp", "clamp below", "columns"],
)
def test_coupling_is_measured(function, couples):
    assert Method.of(function).needs.couples == couples


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda v: v.policy_chosen.mean(), r"\(\)"),
        (lambda v: v.policy_chosen[:-1], r"\(3,\)"),
        (lambda v: 1.0, "float"),
    ],
    ids=["mean", "short", "number"],
)
def test_a_function_of_another_shape_is_refused(function, got):
    with pytest.raises(BadComposition, match=rf"one value per pair, shape \(4,\), got {got}"):
        Method.of(function)(view_of())


def test_an_objective_has_parts_with_finite_coefficients():
    method = methods.dpo()
    objective = Objective.of(method)
    assert objective.name == "dpo"
    assert objective.parts == (Part(source=method.distribution, method=method),)
    assert objective.parts[0].coefficient == 1.0
    assert Objective.of(objective) is objective
    function = Method.of(lambda v: v.policy_chosen)
    assert Objective.of(function).parts[0].source == offline_pairs()
    with pytest.raises(BadComposition, match="'empty' has no parts"):
        Objective(name="empty", parts=())
    for bad in (math.nan, math.inf):
        with pytest.raises(BadComposition, match="coefficient of 'dpo' must be finite"):
            Objective(name="x", parts=(replace(objective.parts[0], coefficient=bad),))


def test_offline_pairs_are_used_as_they_are():
    answer = Answer(ids=np.array([1, 2]))
    example = Example(prompt=np.array([3]), answers=(answer, answer), row=0)
    assert tuple(offline_pairs().select(example, np.random.default_rng(0))) == (example,)


def test_cite_prints_each_entry_once_the_method_first():
    text = cite(methods.f_dpo(0.1, divergences.forward_kl))
    keys = [entry.split("{")[1].split(",")[0] for entry in text.split("\n\n")]
    assert keys == ["wang:24", "rafailov:23", "kullback:51", "bradley:52"]
    assert text.count("{") == text.count("}")


def test_cite_names_a_missing_entry():
    with pytest.raises(CollimateError, match="nobody:99"):
        cite(composed(source="nobody:99 eq. 1"))


@pytest.mark.parametrize("name", methods.__all__)
def test_every_source_of_a_preset_is_in_the_bibliography(name):
    method = getattr(methods, name)()
    assert source_keys(method.source)
    parts = (method.distribution, method.divergence, method.margin, method.loss, method.tradeoff)
    for part in (method, *parts):
        for key in source_keys(part.source):
            assert key in bibliography(), f"{part.name} cites {key}"
    assert cite(method).startswith(bibliography()[source_keys(method.source)[0]])


def test_bibliography_keys_are_unique_and_entries_whole():
    text = files("collimate").joinpath("references.bib").read_text(encoding="utf-8")
    assert text.count("\n@") + text.startswith("@") == len(bibliography())
    for key, entry in bibliography().items():
        assert entry.count("{") == entry.count("}"), key
        assert "title" in entry, key
        assert "year" in entry, key


def test_the_registry_is_the_namespace():
    public = {
        name
        for name, value in vars(methods).items()
        if callable(value) and not name.startswith("_")
    }
    assert public == set(methods.__all__)
    assert methods.__all__ == sorted(methods.__all__)


def test_an_optimum_is_that_of_its_choices_alone():
    world = World(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[1.0, 0.0, 0.3]]))
    method = methods.dpo(0.3)
    assert replace(method, name="mine", source="").population_optimum(world) is not None
    for changed in (
        {"loss": losses.hinge},
        {"tradeoff": tradeoffs.fixed(0.4)},
        {"margin": replace(method.margin, constant=0.5)},
        {"coefficient": 2.0},
    ):
        assert replace(method, **changed).population_optimum(world) is None
