"""Formulas as text: read, put into one another, tidied, written out again. No torch.

A formula is plain maths: names, numbers, + - · / ^, brackets, calls such as log(x), and one
comparison a < b. f' is a name too.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from collimate._checks import BadComposition

_SLOPE, _READ_AS = "f'", "f_prime"  # the derivative's name, and as Python reads it
Function = Callable[["Expression"], "Expression"]
Product = tuple[tuple["str | Expression", float], ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """Σ coefficient · Π base^power, in the order in which it was written.

    terms: (product, coefficient); a product holds (base, power), a base is a name or a call as text,
    or a sum in brackets. Like terms are one; a bracket of coefficient ±1 is opened.
    """

    terms: tuple[tuple[Product, float], ...] = ()

    def __add__(self, other: Expression) -> Expression:
        return _sum([*self.terms, *other.terms])

    def __neg__(self) -> Expression:
        return _scaled(self, -1.0)

    def __sub__(self, other: Expression) -> Expression:
        return self + -other

    def __mul__(self, other: Expression) -> Expression:
        for factor, rest in ((_number(self), other), (_number(other), self)):
            if factor is not None:
                return _scaled(rest, factor)
        (a, left), (b, right) = _as_product(self), _as_product(other)
        powers: dict[str | Expression, float] = {}
        for base, power in (*left, *right):
            powers[base] = powers.get(base, 0.0) + power
        return _sum([(tuple((base, power) for base, power in powers.items() if power), a * b)])

    def __truediv__(self, other: Expression) -> Expression:
        return self * other ** constant(-1.0)

    def __pow__(self, other: Expression) -> Expression:
        power, base = _number(other), _number(self)
        if base == 1 or power == 1:
            return self
        if power is None:  # 0.9^i is left as it is
            plain = re.fullmatch(r"[\w.]+", str(other)) is not None
            return name(f"{self}^{other}" if plain else f"{self}^({other})")
        if base is not None or power == 0:
            return constant(1.0 if base is None else base**power)
        coefficient, product = _as_product(self)
        simple = len(self.terms) == 1 and coefficient > 0 and [p for _, p in product] == [1.0]
        whole = len(self.terms) == 1 and power == int(power)
        if not (simple or whole):  # (x^2)^0.5 is not x
            return _sum([(((self, power),), 1.0)])
        return _sum([(tuple((b, p * power) for b, p in product), coefficient**power)])

    def __str__(self) -> str:
        """The formula; of a difference, what is positive first."""
        terms = self.terms
        if len(terms) == 2 and terms[0][1] < 0 < terms[1][1]:
            terms = (terms[1], terms[0])
        text = "".join(
            f"{' - ' if coefficient < 0 else ' + '}{_term(product, abs(coefficient))}"
            for product, coefficient in terms
        )
        return (text[3:] if text.startswith(" + ") else f"-{text[3:]}") if text else "0"


def constant(value: float) -> Expression:
    """A number as a formula."""
    return _sum([((), value)])


def name(text: str) -> Expression:
    """A name, or anything that is to be left as it is."""
    return Expression(((((text, 1.0),), 1.0),))


def read(
    text: str,
    names: Mapping[str, Expression] | None = None,
    functions: Mapping[str, Function] | None = None,
) -> Expression:
    """The formula in `text`, with formulas in the place of some names, and functions applied.

    Numbers are gathered, log(t_x) is u_x. Errors: BadComposition for what is no formula.

    >>> str(read("((0.2·h - 0.5)/0.2)^2", {"h": read("u_w - u_l")}))
    '(u_w - u_l - 2.5)^2'
    """
    source = text.replace("·", "*").replace("^", "**").replace(_SLOPE, _READ_AS)
    try:
        return _walk(ast.parse(source, mode="eval").body, names or {}, functions or {})
    except (SyntaxError, TypeError, ValueError, ArithmeticError) as error:
        raise BadComposition(
            f"cannot read the formula '{text}': expected names, numbers, + - · / ^, brackets and "
            "calls such as log(x), or one comparison a < b"
        ) from error


def identifiers(text: str) -> list[str]:
    """The names in a formula, functions among them, each once.

    >>> identifiers("-log(s(0.1·u_w))")
    ['log', 's', 'u_w']
    """
    found = re.findall(r"(?<![\w.])[^\W\d][\w']*", text)
    return list(dict.fromkeys(found))


def rounded(text: str) -> str:
    """The formula as it was written, its numbers with at most 12 digits.

    >>> rounded("(z/1.0)^2 + 0.30000000000000004")
    '(z/1)^2 + 0.3'
    """
    number = r"(?<![\w.])\d+\.?\d*(e[+-]?\d+)?"
    return re.sub(number, lambda found: _digits(float(found[0])), text)


_OPERATORS: Mapping[type[ast.operator], Callable[[Expression, Expression], Expression]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.Gt: ">",
    ast.LtE: "<=",
    ast.GtE: ">=",
}


def _walk(
    node: ast.expr, names: Mapping[str, Expression], functions: Mapping[str, Function]
) -> Expression:
    inner = partial(_walk, names=names, functions=functions)
    match node:
        case ast.Constant(value=int() | float() as value):
            return constant(float(value))
        case ast.Name(id=found):
            return names[found] if found in names else name(found)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -inner(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](inner(left), inner(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return name(f"{inner(left)} {_COMPARISONS[type(op)]} {inner(right)}")
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
            return _call(function, [inner(argument) for argument in arguments], functions)
        case _:
            raise TypeError(ast.dump(node))


def _call(
    function: str, arguments: list[Expression], functions: Mapping[str, Function]
) -> Expression:
    function = _SLOPE if function == _READ_AS else function
    if function in functions:
        return functions[function](*arguments)
    text = ", ".join(map(str, arguments))
    if function == "log" and re.fullmatch(r"t_\w+", text):
        return name(f"u{text[1:]}")
    return name(f"{function}({text})")


def _sum(terms: Iterable[tuple[Product, float]]) -> Expression:
    found: dict[Product, float] = {}
    for product, coefficient in terms:
        for each, number in _opened(product, coefficient):
            found[each] = _rounded(found.get(each, 0.0) + number)
    return Expression(tuple((product, number) for product, number in found.items() if number))


def _opened(product: Product, coefficient: float) -> Iterable[tuple[Product, float]]:
    match product:
        case ((Expression() as bracket, 1.0),) if abs(coefficient) == 1:
            return [(inner, coefficient * number) for inner, number in bracket.terms]
        case _:
            return [(product, coefficient)]


def _scaled(x: Expression, by: float) -> Expression:
    """by·x: a bracket, unless opening it rids a term of its number."""
    scaled = [(product, _rounded(number * by)) for product, number in x.terms]
    if len(scaled) < 2 or any(product and abs(number) == 1 for product, number in scaled):
        return _sum(scaled)
    common, bracket = _as_product(x)
    return _sum([(bracket, by * common)])


def _as_product(x: Expression) -> tuple[float, Product]:
    """Coefficient and product; of a sum a bracket, and what its terms have in common."""
    if not x.terms:
        return 0.0, ()
    if len(x.terms) == 1:
        return x.terms[0][1], x.terms[0][0]
    sizes = {abs(number) for _, number in x.terms}
    common = sizes.pop() if len(sizes) == 1 else 1.0
    return common, ((_sum((product, number / common) for product, number in x.terms), 1.0),)


def _number(x: Expression) -> float | None:
    if not x.terms:
        return 0.0
    return x.terms[0][1] if len(x.terms) == 1 and not x.terms[0][0] else None


def _rounded(value: float) -> float:
    """To 15 digits: 0.1 + 0.2 is 0.3, and 0.3·(1/0.3) is 1."""
    return float(f"{value:.15g}")


def _digits(value: float) -> str:
    return f"{value:.12g}"


def _factor(base: str | Expression, power: float) -> str:
    text = base if isinstance(base, str) else f"({base})"
    if power == 1:
        return text
    plain = isinstance(base, Expression) or re.fullmatch(r"[\w']+(\(.*\))?", base)
    return f"{text if plain else f'({text})'}^{_digits(power)}"


_LONG = 9  # digits from which a number is written as 1 over another that is shorter


def _term(product: Product, coefficient: float) -> str:
    over = [_factor(base, power) for base, power in product if power > 0]
    under = [_factor(base, -power) for base, power in product if power < 0]
    number, reciprocal = _digits(coefficient), _digits(1 / coefficient)
    if len(number) > _LONG and len(reciprocal) < len(number):
        under = [reciprocal, *under]
    elif number != "1" or not over:
        over = [number, *over]
    below = "·".join(under)
    below = f"/({below})" if len(under) > 1 else f"/{below}" if under else ""
    return f"{'·'.join(over) or '1'}{below}"
