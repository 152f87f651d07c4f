"""Formulas against Python's own logic, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collimate._checks import BadConfig
from collimate.logic import Formula, L, L_q, W, W_q, parse, simplest
from collimate.logic.formulas import PREDICTIONS, VALUATIONS, widened

formulas = st.recursive(
    st.sampled_from([*PREDICTIONS, "true", "false"]).map(Formula),
    lambda inner: st.one_of(
        inner.map(lambda f: ~f),
        st.tuples(st.sampled_from(["&", "^", "|", "->"]), st.tuples(inner, inner)).map(
            lambda drawn: Formula(*drawn)
        ),
    ),
    max_leaves=12,
)


def holds(formula: Formula, world: dict[str, bool]) -> bool:
    values = [holds(part, world) for part in formula.parts]
    match formula.head:
        case "~":
            return not values[0]
        case "&":
            return values[0] and values[1]
        case "|":
            return values[0] or values[1]
        case "^":
            return values[0] != values[1]
        case "->":
            return values[1] if values[0] else True
        case atom:
            return {"true": True, "false": False, **world}[atom]


def table(formula: Formula) -> int:
    worlds = [{name: bool(v >> i & 1) for i, name in enumerate(PREDICTIONS)} for v in VALUATIONS]
    return sum(1 << v for v, world in enumerate(worlds) if holds(formula, world))


@given(formulas)
def test_the_truth_table_is_the_formula_case_by_case(formula: Formula) -> None:
    assert formula.table == table(formula)


@given(formulas)
def test_what_is_printed_parses_to_the_same_expression(formula: Formula) -> None:
    assert parse(str(formula)) == formula


@settings(max_examples=100)
@given(st.integers(0, 0xFFFF))
def test_the_simplest_formula_means_its_table_and_can_be_parsed(drawn: int) -> None:
    assert table(parse(str(simplest(drawn)))) == drawn


def test_every_formula_over_two_propositions_is_short() -> None:
    found = {str(simplest(widened(t, ("W", "L")))) for t in range(16)}
    assert found == {
        *("true", "false", "W", "L", "~W", "~L", "W & L", "W | L", "W ^ L", "W ^ ~L"),
        *("W -> L", "L -> W", "W -> ~L", "W & ~L", "L & ~W", "~W & ~L"),
    }


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("W", W),
        ("  ~ ~W ", ~~W),
        ("W & ~L", W & ~L),
        ("L->W", L.implies(W)),
        ("W|L&W_q", W | (L & W_q)),
        ("W ^ L & W_q", W ^ (L & W_q)),
        ("W | L ^ W_q", W | (L ^ W_q)),
        ("W -> L | L_q", W.implies(L | L_q)),
        ("~W & L", (~W) & L),
        ("W & L & W_q", (W & L) & W_q),
        ("W & (L & W_q)", W & (L & W_q)),
        ("W -> L -> W_q", W.implies(L.implies(W_q))),
        ("W -> L -> W_q -> L_q", W.implies(L.implies(W_q.implies(L_q)))),
        ("(W -> L) -> W_q", W.implies(L).implies(W_q)),
        ("true ^ false", Formula("true") ^ Formula("false")),
    ],
)
def test_a_text_is_read_by_the_precedence_of_its_operators(text: str, meant: Formula) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "character 1"),
        ("W &", "character"),
        ("W L", "character"),
        ("W & & L", "character 5"),
        ("(W & L", "character"),
        ("W) & (L", "character 2"),
        ("W - L", "character 3"),
        ("W > L", "character 3"),
        ("W <= L", "character 3"),
        ("W & 1", "character 5"),
        ("W ¬ L", "character 3"),
        ("W\n& L", "character 2"),
        ("W # L", "character 3"),
        ("W = L", "character 3"),
        ("W and L", "character 1"),
        ("not W", "character 1"),
        ("W is L", "character 1"),
        ("W & lambda", "character"),
        ("W(L)", "character 1"),
        ("()", "character 1"),
        ("W if L else W", "character 1"),
        ("True", "character 1"),
        ("W & V", "'V' is none of W, L, W_q, L_q"),
        ("W & L_g", "did you mean 'L_q'"),
        ("W & (" * 200, "at most 250 characters"),
        ("(" * 120 + "W" + ")" * 120 + " &", "goes wrong"),
        ("~" * 250, "goes wrong"),
    ],
)
def test_a_text_that_does_not_parse_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=r"^(formula|')") as error:
        parse(text)
    assert words in str(error.value)


def test_the_deepest_text_that_is_accepted_can_be_used() -> None:
    assert parse("~" * 248 + "W").table == W.table
    assert str(parse("~" * 248 + "W")) == "~" * 248 + "W"
    assert parse("->".join("W" * 80)).table == W.implies(W).table | W.table


@pytest.mark.parametrize(
    ("head", "parts"), [("X", ()), ("&", (W,)), ("~", (W, L)), ("&", (W,) * 3)]
)
def test_a_formula_that_is_none_cannot_be_made(head: str, parts: tuple[Formula, ...]) -> None:
    with pytest.raises(BadConfig, match="is none of"):
        Formula(head, parts)
