"""Formulas as text: what is tidied, and that it stays what it was."""

import re
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collimate._checks import BadComposition
from collimate._formula import identifiers, read, rounded


def exact(text, **names):
    """The value in fractions, of a formula without functions but abs and max."""
    python = text.replace("·", "*").replace("^", "**")
    python = re.sub(r"(?<![\w.])(\d+\.?\d*(?:e[+-]?\d+)?)", r"F('\1')", python)
    functions = {"F": Fraction, "abs": abs, "max": max}
    return eval(python, {"__builtins__": {}, **functions, **names})


NUMBERS = st.sampled_from(["0", "1", "2", "4", "0.5", "0.25"])
LEAVES = st.one_of(st.sampled_from(["a", "b", "c"]), NUMBERS)


def combined(inner):
    pair = st.tuples(inner, inner)
    return st.one_of(
        *(
            pair.map(lambda two, sign=sign: f"({two[0]}){sign}({two[1]})")
            for sign in (" + ", " - ", "·", "/")
        ),
        inner.map(lambda x: f"-({x})"),
        st.tuples(inner, st.sampled_from(["2", "3", "-1", "-2"])).map(lambda x: f"({x[0]})^{x[1]}"),
        inner.map(lambda x: f"abs({x})"),
        pair.map(lambda two: f"max({two[0]}, {two[1]})"),
    )


@settings(max_examples=60)
@given(
    text=st.recursive(LEAVES, combined, max_leaves=8),
    values=st.tuples(*[st.sampled_from([Fraction(n, 7) for n in (-9, -2, 3, 5, 13)])] * 3),
)
def test_a_tidied_formula_is_the_one_that_was_read(text, values):
    names = dict(zip("abc", values, strict=True))
    try:
        want = exact(text, **names)
    except ZeroDivisionError:
        assume(False)
    try:
        tidied = str(read(text))
    except BadComposition:  # a division by what is zero for every a, b, c that was not evaluated
        assume(False)
    assume(not re.search(r"\d{9}|e", tidied.replace("abs", "")))  # rounded, and rightly so
    assert exact(tidied, **names) == want
    assert str(read(tidied)) == str(read(str(read(tidied))))


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("(z/0.2)^2", "25·z^2"),
        ("((0.2·(x - y) - 0.5)/0.2)^2", "(x - y - 2.5)^2"),
        ("0.1·(x - y) - 0", "0.1·(x - y)"),
        ("(0.1·x - 0.1·y)·2", "0.2·(x - y)"),
        ("-(1 - x)", "x - 1"),
        ("0.1 + 0.2 - 0.3", "0"),
        ("0·x + 1·y", "y"),
        ("x/0.999", "x/0.999"),
        ("x/n/(2·m)", "0.5·x/(n·m)"),
        ("(a + b)/(a + b)·c", "c"),
        ("(x^2)^0.5", "(x^2)^0.5"),
        ("(2·x)^0.5/2^0.5", "x^0.5"),
        ("1^i·l_i - 0.9^i·l_i + 0.9^(i + 1)", "l_i - 0.9^i·l_i + 0.9^(i + 1)"),
        ("(0.9^i)^2", "(0.9^i)^2"),
        ("x^0 + 2^3", "9"),
        ("log(t_w) - log(t) - log(2·t_w)", "u_w - log(t) - log(2·t_w)"),
        ("where(margin > -1·2, max(0, -x), f'(x))", "where(margin > -2, max(0, -x), f'(x))"),
        ("1e-3·x", "0.001·x"),
    ],
)
def test_by_hand(text, tidied):
    assert str(read(text)) == tidied


def test_formulas_and_functions_take_the_places_of_names():
    gap = read("u_w - u_l")
    assert str(read("h/3 - h", {"h": gap})) == "(u_w - u_l)/3 - u_w + u_l"
    slope = {"f'": lambda t: read("1 - 1/t", {"t": t})}
    assert str(read("f'(t_w) - f'(t_l)", {}, slope)) == "1/t_l - 1/t_w"


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "x = 2", "f(x)(y)", "x.real", "'text'", "1/0", "(-8)^0.5", "a < b < c", "~x"],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(BadComposition, match="cannot read the formula"):
        read(text)


def test_numbers_are_rounded_and_names_left_alone():
    assert rounded("x1·0.30000000000000004^2 + 1e-06·z2.5") == "x1·0.3^2 + 1e-06·z2.5"
    assert identifiers("1e5·x_w - f'(t_l) + 2·i") == ["x_w", "f'", "t_l", "i"]
