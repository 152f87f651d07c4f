"""The logic of a loss: what it states about the predictions of its models (docs/logic.md).

`compile` a structure (P, P_C, P_A) to its loss, `decompile` a method to its structure; `relation`
tells how the losses of two structures relate.
"""

from collimate.logic.compiler import compile as compile
from collimate.logic.formulas import Formula as Formula
from collimate.logic.formulas import parse as parse
from collimate.logic.formulas import simplest as simplest
from collimate.logic.recogniser import Reading as Reading
from collimate.logic.recogniser import decompile as decompile
from collimate.logic.recogniser import readings as readings
from collimate.logic.structures import NAMED as NAMED
from collimate.logic.structures import Structure as Structure
from collimate.logic.structures import of_tables as of_tables
from collimate.logic.structures import relation as relation
from collimate.logic.structures import statement as statement
from collimate.logic.structures import structures as structures

W, L, W_q, L_q = map(Formula, ("W", "L", "W_q", "L_q"))

__all__ = [
    "NAMED",
    "Formula",
    "L",
    "L_q",
    "Reading",
    "Structure",
    "W",
    "W_q",
    "compile",
    "decompile",
    "of_tables",
    "parse",
    "readings",
    "relation",
    "simplest",
    "statement",
    "structures",
]
