"""Propositional formulas about a pair: immutable, parsed from text, with truth tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from operator import and_, or_, xor

from collimate._checks import BadConfig, nearest

PREDICTIONS = ("W", "L", "W_q", "L_q")
"""The chosen answer is valid, the rejected one is: as the policy, as the reference predicts."""

VALUATIONS = range(1 << len(PREDICTIONS))
"""Valuation v makes PREDICTIONS[i] true if bit i of v is set."""

_ALL = (1 << len(VALUATIONS)) - 1
_ATOMS = {
    name: sum(1 << v for v in VALUATIONS if v >> i & 1) for i, name in enumerate(PREDICTIONS)
} | {"true": _ALL, "false": 0}
_BINARY = {"&": and_, "^": xor, "|": or_, "->": lambda p, q: _ALL ^ p | q}


@dataclass(frozen=True, slots=True)
class Formula:
    """One of PREDICTIONS, true or false, or an operator and its parts: `~ & ^ |` and `implies`.

    `==` compares expressions; formulas mean the same if their tables are equal.

    Errors: BadConfig for an unknown atom or operator.

    >>> from collimate.logic import L, W
    >>> str(L.implies(W) & ~L)
    '(L -> W) & ~L'
    """

    head: str
    parts: tuple[Formula, ...] = ()

    def __post_init__(self) -> None:
        known = (_ATOMS, ("~",), _BINARY)[min(len(self.parts), 2)]
        if len(self.parts) > 2 or self.head not in known:
            hint = nearest(self.head, known)
            raise BadConfig(f"'{self.head}' is none of {', '.join(known)}{hint}")

    def __invert__(self) -> Formula:
        return Formula("~", (self,))

    def __and__(self, other: Formula) -> Formula:
        return Formula("&", (self, other))

    def __xor__(self, other: Formula) -> Formula:
        return Formula("^", (self, other))

    def __or__(self, other: Formula) -> Formula:
        return Formula("|", (self, other))

    def implies(self, other: Formula) -> Formula:
        """False only where this holds and the other does not."""
        return Formula("->", (self, other))

    @property
    def table(self) -> int:
        """The truth table: bit v is the value at valuation v."""
        inner = [part.table for part in self.parts]
        if len(inner) == 2:
            return _BINARY[self.head](*inner)
        return _ALL ^ inner[0] if inner else _ATOMS[self.head]

    def __str__(self) -> str:
        inner = [f"({part})" if len(part.parts) == 2 else str(part) for part in self.parts]
        if len(inner) < 2:
            return "".join((self.head, *inner))
        if self.parts[0].head == self.head != "->":  # W & L & W_q
            inner[0] = str(self.parts[0])
        return f" {self.head} ".join(inner)


_PYTHON: Mapping[type[ast.operator], str] = {ast.BitAnd: "&", ast.BitXor: "^", ast.BitOr: "|"}
_LONGEST = 300  # characters: no nesting is too deep to be evaluated


def parse(text: str) -> Formula:
    """The formula that a text states.

    Atoms W, L, W_q, L_q, true, false; parentheses; from tight to loose ~ (not), & (and), ^ (either, not
    both), | (or), -> (implies). `->` groups to the right, the others to the left.

    Errors: BadConfig for anything else, with the place.

    >>> str(parse("~L|W & L_q -> L"))
    '(~L | (W & L_q)) -> L'
    """
    text = text.strip()
    stray = re.search(r"[^A-Za-z_~&^|()> -]|-(?!>)|(?<!-)>", text)
    if stray or len(text) > _LONGEST:
        raise _bad(text, stray.start() if stray else _LONGEST)
    try:  # Python's own operators bind in this order, and comparisons more loosely
        tree = ast.parse(text.replace("->", "<="), mode="eval")
    except (SyntaxError, MemoryError) as error:  # MemoryError: parentheses nested too deep
        raise _bad(text, (getattr(error, "offset", None) or 1) - 1) from None
    return _formula(tree.body, text)


def _formula(node: ast.expr, text: str) -> Formula:
    match node:
        case ast.Name(name):
            return Formula(name)
        case ast.UnaryOp(ast.Invert(), body):
            return ~_formula(body, text)
        case ast.BinOp(left, operator, right) if type(operator) in _PYTHON:
            return Formula(_PYTHON[type(operator)], (_formula(left, text), _formula(right, text)))
        case ast.Compare(left, operators, rights) if {type(o) for o in operators} == {ast.LtE}:
            *before, last = (_formula(side, text) for side in (left, *rights))
            return reduce(lambda right, side: side.implies(right), reversed(before), last)
        case _:
            raise _bad(text, node.col_offset)


def _bad(text: str, place: int) -> BadConfig:
    return BadConfig(
        f"formula '{text[:_LONGEST]}' goes wrong at character {place + 1}: expected "
        f"{', '.join(_ATOMS)}, the operators ~ & ^ | -> and parentheses, at most {_LONGEST} characters "
        "in all; for example: L -> W & ~L"
    )


def widened(table: int, names: Sequence[str]) -> int:
    """A truth table over some of PREDICTIONS, bit i of its valuations names[i], as one over all.

    >>> widened(0b1011, ("W", "L")) == parse("L -> W").table
    True
    """
    bits = [PREDICTIONS.index(name) for name in names]
    narrow = [sum((v >> bit & 1) << i for i, bit in enumerate(bits)) for v in VALUATIONS]
    return sum(1 << v for v in VALUATIONS if table >> narrow[v] & 1)


def simplest(table: int) -> Formula:
    """A short formula with a given truth table; beyond three operators, case by case.

    >>> str(simplest(parse("(~W | W & L) ^ W").table))
    'W -> ~L'
    """
    found = _short_formulas().get(table)
    if found is not None:
        return found
    if table.bit_count() > len(VALUATIONS) // 2:
        return ~simplest(_ALL ^ table)
    atoms = [Formula(name) for name in PREDICTIONS]
    literals = [[atom if v >> i & 1 else ~atom for i, atom in enumerate(atoms)] for v in VALUATIONS]
    return reduce(or_, (reduce(and_, literals[v]) for v in VALUATIONS if table >> v & 1))


@cache
def _short_formulas() -> Mapping[int, Formula]:
    """Table -> formula, by rising cost: 1 for a negated atom, 2 for an operator."""
    found = {table: Formula(name) for name, table in _ATOMS.items()}
    atoms = {table: f for table, f in found.items() if f.head in PREDICTIONS}
    levels = [atoms, {_ALL ^ table: ~f for table, f in atoms.items()}]
    found.update(levels[1])
    for cost in range(2, 8):
        new: dict[int, Formula] = {}
        for spent in range(cost - 1):
            for f, g in product(levels[spent].items(), levels[cost - 2 - spent].items()):
                for operator, combined in _BINARY.items():
                    new.setdefault(combined(f[0], g[0]), Formula(operator, (f[1], g[1])))
        levels.append({table: formula for table, formula in new.items() if table not in found})
        found.update(levels[cost])
    return found
