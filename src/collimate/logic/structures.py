"""Preference structures (P, P_C, P_A), and how the losses of two relate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from types import MappingProxyType
from typing import Literal

from collimate.logic.formulas import VALUATIONS, Formula, parse, simplest, widened

TRUE, FALSE = Formula("true"), Formula("false")
Relation = Literal["equivalent", "entails", "entailed", "incomparable"]


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """P is preferred to ~P among the valuations of P_C; those of P_A count for both.

    p, p_c, p_a: formulas. The top T = (P | P_A) & P_C is what training makes likely, the bottom
    B = (~P | P_A) & P_C what it makes unlikely: `logic.compile`. tables: their truth tables; structures
    are equal if these are, whatever the formulas. Source: richardson:25.

    >>> from collimate.logic import L, W
    >>> orpo = Structure(L.implies(W), W ^ L)
    >>> str(orpo.top), str(orpo.bottom), orpo == Structure(W, W ^ L)
    ('W & ~L', 'L & ~W', True)
    """

    p: Formula
    p_c: Formula = TRUE
    p_a: Formula = FALSE
    tables: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        top, bottom = ((p | self.p_a) & self.p_c for p in (self.p, ~self.p))
        object.__setattr__(self, "tables", (top.table, bottom.table))

    @property
    def top(self) -> Formula:
        """T, in few words."""
        return simplest(self.tables[0])

    @property
    def bottom(self) -> Formula:
        """B, in few words."""
        return simplest(self.tables[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.tables == other.tables

    def __hash__(self) -> int:
        return hash(self.tables)

    def __str__(self) -> str:
        return f"P: {self.p}; P_C: {self.p_c}; P_A: {self.p_a}"


def statement(p: str, p_c: str = "true", p_a: str = "false") -> Structure:
    """A structure from three texts. Errors: BadConfig where one does not parse.

    >>> print(statement("L -> W", "W | L", "W & L"))
    P: L -> W; P_C: W | L; P_A: W & L
    """
    return Structure(parse(p), parse(p_c), parse(p_a))


NAMED: Mapping[str, Structure] = MappingProxyType(
    {
        "unlikelihood": statement("W & ~L"),
        "cross-entropy": statement("W"),
        "rejected unlikelihood": statement("~L"),
        "orpo": statement("L -> W", "W ^ L"),
        "cpo": statement("L -> W", "W | L", "W & L"),
        "cCPO": statement("L -> W", "W | L"),
        "unCPO": statement("L -> W"),
        "dpo": statement("L & W_q -> W & L_q", "W & L_q | L & W_q", "W & L & W_q & L_q"),
    }
)
"""Structures of the literature, most with P = "if the rejected answer is valid, so is the chosen one".

cCPO is CPO without P_A, unCPO without P_C too; DPO is CPO with each prediction of the policy joined to
the reference's of the other answer. Source: richardson:25.
"""


def of_tables(top: int, bottom: int) -> Structure:
    """The structure with given T and B: P = B -> T, P_C = T | B, P_A = T & B, in few words.

    Every pair (T, B) has this one: a structure is no more and no less than two truth tables.

    >>> print(of_tables(*statement("W", "W ^ L").tables))
    P: L -> W; P_C: W ^ L; P_A: false
    """
    p = simplest(bottom).implies(simplest(top)).table
    return Structure(simplest(p), simplest(top | bottom), simplest(top & bottom))


def structures(names: Sequence[str] = ("W", "L")) -> Iterator[Structure]:
    """Every structure over n propositions, each meaning once: 4^(2^n) pairs (T, B) of truth tables.

    The triples of formulas are more, 8^(2^n) up to equivalence: outside P_C, P and P_A do not matter. A
    finite loss have (2^(2^n) - 1)^2, those in which neither T nor B is empty.

    >>> sum(1 for _ in structures()), sum(all(s.tables) for s in structures())
    (256, 225)
    """
    tables = [widened(table, names) for table in range(1 << (1 << len(names)))]
    return (of_tables(top, bottom) for top, bottom in product(tables, tables))


def relation(a: Structure, b: Structure) -> Relation:
    """How two losses relate by their statements, whatever the models.

    "entails": T_a ⊆ T_b and B_b ⊆ B_a, so that a's log-ratio is nowhere larger than b's and any
    decreasing loss of it (logistic, hinge; not squared) nowhere smaller. "entailed": the reverse.
    "equivalent": the log-ratios are one function: equal structures, and those with a factor that
    cancels, as in W & L over ~W & L. "incomparable": none of these; the losses may still be ordered, but
    not by entailment. P_a -> P_b alone says nothing, unless P_C and P_A agree. Source: richardson:25.

    >>> relation(NAMED["orpo"], NAMED["unCPO"]), relation(NAMED["orpo"], NAMED["cpo"])
    ('entails', 'incomparable')
    """
    (top_a, bottom_a), (top_b, bottom_b) = a.tables, b.tables
    finite = all((*a.tables, *b.tables))
    if a == b or (finite and _count(top_a) * _count(bottom_b) == _count(top_b) * _count(bottom_a)):
        return "equivalent"
    if not top_a & ~top_b and not bottom_b & ~bottom_a:
        return "entails"
    if not top_b & ~top_a and not bottom_a & ~bottom_b:
        return "entailed"
    return "incomparable"


@cache
def _count(table: int) -> int:
    """The weighted count, a polynomial of degree 1 in each odds p/(1-p), exactly, as one integer.

    Its coefficients are digits of base 2^9, at places written in base 3: in a product of two, degrees
    stay below 3 and coefficients (at most 256) below the base, so that nothing carries.
    """
    return sum(1 << 9 * int(f"{v:b}", 3) for v in VALUATIONS if table >> v & 1)
