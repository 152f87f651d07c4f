"""Propositional formulas about a pair: immutable, parsed from text, with truth tables."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial, reduce
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


@dataclass(frozen=True, slots=True, repr=False)
class Formula:
    """One of PREDICTIONS, true or false, or an operator and its parts: `~ & ^ |` and `implies`.

    `==` compares expressions; formulas mean the same if their truth tables are equal, bit v of which is
    the value at valuation v.

    Errors: BadConfig for an unknown atom or operator.

    >>> from collimate.logic import L, W
    >>> str(L.implies(W) & ~L)
    '(L -> W) & ~L'
    """

    head: str
    parts: tuple[Formula, ...] = ()
    table: int = field(init=False, compare=False)
    text: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        known = (_ATOMS, ("~",), _BINARY)[min(len(self.parts), 2)]
        if len(self.parts) > 2 or self.head not in known:
            hint = nearest(self.head, known)
            raise BadConfig(f"'{self.head}' is none of {', '.join(known)}{hint}")
        tables = [part.table for part in self.parts]
        texts = [f"({part})" if len(part.parts) == 2 else part.text for part in self.parts]
        match self.parts:
            case []:
                table, text = _ATOMS[self.head], self.head
            case [_]:
                table, text = _ALL ^ tables[0], f"~{texts[0]}"
            case [left, *_]:
                if left.head == self.head != "->":  # W & L & W_q
                    texts[0] = left.text
                table, text = _BINARY[self.head](*tables), f" {self.head} ".join(texts)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "text", text)

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

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"parse({self.text!r})"


_PYTHON: Mapping[type[ast.operator], str] = {ast.BitAnd: "&", ast.BitXor: "^", ast.BitOr: "|"}
_LONGEST = 250  # characters: no nesting is too deep to be evaluated


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
        level: dict[int, Formula] = {}
        for spent in sorted(range(cost - 1), key=partial(_ease, cost)):
            for f, g in product(levels[spent].items(), levels[cost - 2 - spent].items()):
                for operator, combined in _BINARY.items():
                    table = combined(f[0], g[0])
                    if table not in found:
                        found[table] = level[table] = Formula(operator, (f[1], g[1]))
        levels.append(level)
    return found


def _ease(cost: int, left: int) -> tuple[bool, int, int]:
    """Which splits of a cost read best: two literals, then nothing negated alone, then to the left."""
    return max(left, cost - 2 - left) > 1, left % 2, -left
