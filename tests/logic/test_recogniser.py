"""Statements found from margins: presets, round trips, and what has none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from collimate import losses, margins, methods
from collimate._checks import BadComposition
from collimate.compose import Method
from collimate.divergences import forward_kl
from collimate.logic import (
    NAMED,
    compile,
    decompile,
    of_tables,
    readings,
    relation,
    statement,
    structures,
)

STATED = {
    (
        "answers",
        "dpo",
    ): "dpo ipo hinge_norm f_dpo cdpo rdpo exo_pair discopop odpo r_dpo madpo rpo_sft"
    " apo_down cal_dpo",
    ("tokens", "dpo"): "ln_dpo sigmoid_norm ipo_length_normalised",
    ("answers", "cpo"): "cpo cpl slic_hf",
    ("tokens", "cpo"): "simpo",
    ("tokens", "orpo"): "orpo",
    ("tokens", "cross-entropy"): "asft",
}
EXPECTED = {name: key for key, names in STATED.items() for name in names.split()}
NO_STATEMENT = {
    "alpha_po": "none of the 4^(2^2) structures over W, L has its margin",
    "aot": "the two answers of one pair",
    "aot_unpaired": "the two answers of one pair",
    "chi_po": "f' of chi_squared_kl, which is no logarithm",
    "dco_pass_at_n": "none of the 4^(2^1) structures over W has its margin",
    "dpop": "none of the 4^(2^4) structures over W, L, W_q, L_q has its margin",
    "f_dpo_js": "f' of jensen_shannon, which is no logarithm",
    "ld_dpo": "none of the 4^(2^4) structures over W, L, W_q, L_q has its margin",
}
ALONE = {"apo_zero", "bco_pair", "nca_pair", "sppo_hard"}  # no term of theirs compares the answers
TERMS = [
    (name, reading) for name in methods.__all__ for reading in readings(getattr(methods, name)())
]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_statement_of_a_preset_is_derived(name: str) -> None:
    weights, known = EXPECTED[name]
    method = getattr(methods, name)()
    assert decompile(method) == NAMED[known]
    assert weights in {r.weights for r in readings(method) if r.structure == NAMED[known]}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_a_preset_of_single_answers_sets_the_policy_against_the_reference(name: str) -> None:
    chosen, rejected = statement("W", "W | W_q", "W & W_q"), statement("L", "L | L_q", "L & L_q")
    allowed = {chosen, rejected, *(of_tables(*s.tables[::-1]) for s in (chosen, rejected))}
    assert decompile(getattr(methods, name)()) == chosen
    assert {r.structure for r in readings(getattr(methods, name)())} <= allowed


@pytest.mark.parametrize("name", NO_STATEMENT)
def test_a_preset_without_a_statement_says_why(name: str) -> None:
    with pytest.raises(BadComposition, match=f"method '{name}' has no statement: ") as error:
        decompile(getattr(methods, name)())
    assert NO_STATEMENT[name] in str(error.value)


def test_the_paper_s_forms_are_what_is_printed() -> None:
    assert str(decompile(methods.cpo())) == "P: L -> W; P_C: W | L; P_A: W & L"
    assert str(decompile(methods.orpo())) == "P: L -> W; P_C: W ^ L; P_A: false"
    dpo = "P: (L & W_q) -> (W & L_q); P_C: (W & L_q) | (L & W_q); P_A: W & L & W_q & L_q"
    assert str(decompile(methods.dpo())) == dpo


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        (name, r)
        for name, r in TERMS
        if r.structure and None not in (r.beta, r.target, r.coefficient)
    ],
    ids=lambda x: x if isinstance(x, str) else x.term,
)
def test_a_reading_compiles_to_the_values_of_its_term(name, reading, pairs) -> None:
    view = pairs(deepest=-300.0, seed=1)
    view = replace(view, gold=view.policy_chosen)  # for the terms that imitate one
    compiled = compile(
        reading.structure,
        beta=reading.beta,
        loss=reading.loss,
        target=reading.target,
        weights=reading.weights,
    )
    method = getattr(methods, name)()
    term = method.terms(view, method.init())[reading.term]
    found, expected = reading.coefficient * compiled(view), term.coefficient * term.values
    assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_what_differs_from_pair_to_pair_is_no_number() -> None:
    assert [r.target for r in readings(methods.odpo())] == [None]
    assert [r.target for r in readings(methods.r_dpo())] == [None]
    assert [r.coefficient for r in readings(methods.madpo())] == [None]


def test_compiling_and_deriving_every_structure_over_two_propositions_gives_it_back() -> None:
    same, reduced = 0, 0
    for structure in (s for s in structures() if all(s.tables)):
        found = decompile(compile(structure, beta=0.7, loss=losses.hinge))
        assert relation(found, structure) == "equivalent"
        same += found == structure
        reduced += found != structure
    assert (same, reduced) == (187, 38)  # 38 have a factor that cancels


def test_compiling_and_deriving_structures_over_four_propositions_gives_them_back() -> None:
    generator = torch.Generator().manual_seed(1)
    for top, bottom in torch.randint(1, 1 << 16, (12, 2), generator=generator).tolist():
        structure = of_tables(top, bottom)
        for weights in ("answers", "tokens"):
            (reading,) = readings(compile(structure, weights=weights))
            assert (reading.structure, reading.weights) == (structure, weights)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("weights", ["answers", "tokens"])
def test_named_statements_come_back_word_for_word(name: str, weights) -> None:
    assert str(decompile(compile(NAMED[name], weights=weights))) == str(NAMED[name])


def test_the_limits_of_presets_meet_their_neighbours() -> None:
    assert decompile(methods.dco_pass_at_n(1)) == NAMED["cross-entropy"]
    assert decompile(methods.ld_dpo(alpha=1.0)) == NAMED["dpo"]
    assert decompile(methods.dpop(lam=0.0)) == NAMED["dpo"]
    with pytest.raises(BadComposition, match="no statement"):
        decompile(methods.cpl(lam=0.5))
    with pytest.raises(BadComposition, match="f' of forward_kl"):
        decompile(methods.f_dpo(divergence=forward_kl))


def test_a_negative_beta_turns_the_statement_round() -> None:
    _, rejected = readings(methods.bco_pair(0.3))
    assert (str(rejected.structure.top), str(rejected.structure.bottom)) == ("L_q", "L")
    assert rejected.beta == 0.3


def test_a_method_without_a_margin_and_one_that_reads_columns_have_no_statement() -> None:
    with pytest.raises(BadComposition, match="not composed of a margin and a loss"):
        decompile(Method.of(lambda view: view.policy_chosen - view.policy_rejected))

    def scaled(view, divergence):
        return (view.policy_chosen - view.policy_rejected) * margins.column(view, "strength")

    margin = margins.Margin(name="scaled", value=scaled, needs=methods.cpo().needs, source="")
    method = Method(
        name="mine",
        distribution=methods.cpo().distribution,
        divergence=methods.cpo().divergence,
        margin=margin,
        loss=losses.logistic,
        tradeoff=methods.cpo().tradeoff,
        source="",
    )
    with pytest.raises(
        BadComposition, match=r"no proposition stands for what it reads: .*strength"
    ):
        decompile(method)


def test_a_constant_margin_is_that_of_a_statement_that_says_nothing() -> None:
    assert decompile(compile(statement("W", "W", "W"))) == statement("true", "true", "true")
