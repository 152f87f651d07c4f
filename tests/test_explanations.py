"""Every preset written out: its text, computed, is the method."""

import inspect
import re
from dataclasses import replace
from functools import cache
from itertools import cycle
from operator import attrgetter

import numpy as np
import pytest

import collimate
from collimate import distributions, divergences, losses, margins, methods, tradeoffs
from collimate._checks import BadComposition
from collimate._formula import identifiers
from collimate.axes import Needs
from collimate.compose import Factor, Method, Objective, Summand
from collimate.divergences import FDivergence
from collimate.explanations import PLAIN, SYMBOLS, explain, explanation, page
from tests.formulas import evaluate, names_of
from tests.laws.test_formulas import CLOSED, view_for


def another(parameter):
    """Another value than the default, in every preset's domain."""
    default = parameter.default
    if isinstance(default, FDivergence):
        return divergences.jensen_shannon
    return default + 1 if type(default) is int else 0.912345678 * default


def parameters(name):
    return inspect.signature(getattr(methods, name)).parameters


def changed(name, *which):
    """A preset at other values of the parameters named."""
    return getattr(methods, name)(**{key: another(parameters(name)[key]) for key in which})


DEFAULT = [getattr(methods, name)() for name in methods.__all__]
BY_NAME = dict(zip(methods.__all__, DEFAULT, strict=True))
CHANGED = [changed(name, *parameters(name)) for name in methods.__all__]
OF_PAIRS = [method for method in DEFAULT if method.needs.view == "pairs"]
UNDER_OTHERS = [methods.f_dpo(0.3, divergence) for divergence in CLOSED]
OWN = [
    replace(
        method,
        margin=replace(method.margin, constant=0.3, target_of=None),
        loss=loss,
        factor=Factor(value=lambda view, state: view.columns["margin"], formula="margin"),
        also=(
            Summand(name="more", margin=margins.sorted_gap, loss=losses.savage, coefficient=-2.5),
            Summand(name="less", margin=margins.log_odds_gap, loss=losses.hinge, beta=0.7),
        ),
    )
    for method, loss in zip(
        OF_PAIRS, cycle([losses.debiased_logistic(0.2), losses.discopop_loss(0.3)]), strict=False
    )
]
written = cache(explanation)  # the checks of every annotation make it slow


def agrees(method):
    view = view_for(method.needs)
    got = evaluate(written(method).formula, **names_of(view))
    np.testing.assert_allclose(got, method(view).numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", [*DEFAULT, *CHANGED], ids=attrgetter("name"))
def test_the_text_of_a_preset_computed_is_the_preset(method):
    agrees(method)


@pytest.mark.parametrize("method", UNDER_OTHERS, ids=attrgetter("divergence.name"))
def test_the_text_follows_the_divergence(method):
    agrees(method)


@pytest.mark.parametrize("method", OWN, ids=lambda method: f"{method.name}-{method.loss.name}")
def test_the_text_of_ones_own_choices_computed_is_the_method(method):
    agrees(method)


# What decides of steps, not of a loss.
ELSEWHERE = {
    ("tr_dpo", "alpha"),
    ("tr_dpo", "tau"),
    ("beta_dpo", "share"),
    ("beta_dpo", "momentum"),
}


@pytest.mark.parametrize(
    ("name", "parameter"),
    sorted({(name, key) for name in methods.__all__ for key in parameters(name)} - ELSEWHERE),
)
def test_every_parameter_is_in_the_loss(name, parameter):
    default, other = written(BY_NAME[name]), written(changed(name, parameter))
    assert default.formula != other.formula


@pytest.mark.parametrize("method", CHANGED, ids=attrgetter("name"))
def test_the_page_says_all_of_it_in_a_hundred_columns(method):
    found = written(method)
    text = page(found)
    flat = " ".join(text.split())
    assert text.startswith(f"{method.name}: {found.title}\n")
    assert found.title
    assert max(map(len, text.splitlines())) <= 100
    parts = (method.distribution, method.divergence, method.margin, method.loss, method.tradeoff)
    for said in (method.source, *(part.name for part in parts), *method.source.split("; ")):
        assert said in flat
    for said in (f"= {found.formula}", found.legal_divergences, *found.symbols.values()):
        assert " ".join(said.split()) in flat
    assert all(f"+ {summand.name}: " in flat for summand in method.also)
    assert (re.search(r"reference +(not )?needed", text)[0].count("not") == 0) == (
        method.needs.reference
    )


@pytest.mark.parametrize("method", DEFAULT, ids=attrgetter("name"))
def test_every_symbol_has_its_meaning(method):
    found = written(method)
    explained = {x for names in found.symbols for x in names.split(", ")}
    assert {x for x in identifiers(found.formula) if x not in PLAIN} == explained
    assert set(found.columns) <= set(view_for(method.needs).columns)
    assert {found.symbols[x] for x in found.symbols} - set(SYMBOLS.values()) == {
        f"the data's column `{column}`" for column in found.columns
    }


@pytest.mark.parametrize("method", DEFAULT, ids=attrgetter("name"))
def test_what_the_page_of_a_preset_says_of_trl_is_told(method):
    preset = inspect.getdoc(getattr(methods, method.name))
    told = written(method).trl
    assert ("TRL" in told) == ("TRL" in preset)
    assert all(sentence in " ".join(preset.split()) for sentence in told.split(". "))


def test_ipo_by_hand():
    found = explanation(methods.ipo(0.2))
    assert found.margin == "log_ratio_gap: h = f'(t_w) - f'(t_l) = u_w - u_l, target 0.5"
    assert found.summands == {"loss": "(z/0.2)^2, z = 0.2·h - 0.5"}
    assert found.formula == "(u_w - u_l - 2.5)^2"
    assert (found.unit, found.data, found.columns, found.reference) == ("pair", "pairs", (), True)
    assert found.legal_divergences == "any f-divergence with f'(0+) = -inf"


def test_what_a_method_needs():
    odpo, aot, cpo = (explanation(m) for m in (methods.odpo(), methods.aot(), methods.cpo()))
    assert odpo.columns == ("margin",)
    assert "column `margin`" in page(odpo)
    assert aot.whole_step
    assert not odpo.whole_step
    assert "whole step" in page(aot)
    assert not cpo.reference
    assert cpo.legal_divergences == "none read"
    assert cpo.divergence == "none: no margin reads it"


def test_a_part_without_a_formula_is_called_by_its_name():
    method = Method(
        name="mine",
        distribution=distributions.offline_pairs(),
        divergence=replace(divergences.alpha(0.5), formula=""),
        margin=replace(
            margins.log_ratio_gap, target_of=lambda view: view.policy_chosen, name="my_gap(2)"
        ),
        loss=replace(losses.hinge, name="my_loss(0.5)", formula=""),
        tradeoff=tradeoffs.fixed(0.5),
        source="",
        factor=Factor(value=lambda view, state: view.policy_chosen),
    )
    found = explanation(method)
    assert found.formula == "factor·my_loss(0.5·(f'(t_w) - f'(t_l)) - target)"
    assert found.divergence == "alpha(0.5): f' of one's own"
    assert found.columns == ()
    own = {name for name, text in found.symbols.items() if "a part of your own" in text}
    assert own == {"factor", "my_loss", "f'", "target"}
    assert (found.title, found.trl) == ("", "")
    assert page(found).startswith("mine\nsource        none\n")
    silent = replace(method.margin, formula="", needs=Needs(), target_of=None)
    silent = replace(silent, closed_form=False, other_reading=True)
    assert "my_gap" in explanation(replace(method, margin=silent)).formula


@pytest.mark.parametrize(
    "thing", [Method.of(lambda view: view.policy_chosen), Objective.of(methods.dpo())], ids=type
)
def test_what_is_not_five_choices_is_refused(thing):
    with pytest.raises(BadComposition, match=r"not made of five choices.*preset"):
        explain(thing)


def test_explain_is_a_public_verb():
    assert collimate.explain(methods.dpo()) == explain(methods.dpo())
