"""The presets' statements and how they relate, as Markdown: the tables of docs/logic.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from collimate import methods
from collimate.logic.formulas import Formula
from collimate.logic.recogniser import Reading, readings
from collimate.logic.structures import NAMED, Structure, relation

_BEGIN, _END = "<!-- tables: begin -->", "<!-- tables: end -->"
_SIGNS = {"equivalent": "=", "entails": "⇒", "entailed": "⇐", "incomparable": ""}


def tables() -> str:
    """Four tables: the named statements, how they relate, the presets' statements, those without.

    Each preset is read at its default parameters.

    >>> print(tables().splitlines()[2])
    | unlikelihood | `W & ~L` | `true` | `false` | `W & ~L` | `W -> L` |
    """
    read = [(name, r) for name in methods.__all__ for r in readings(getattr(methods, name)())]
    stated = [
        (name, r.term, _called(r.structure), r.weights, _loss(r)) for name, r in read if r.structure
    ]
    others = [(name, r.term, r.reason) for name, r in read if r.structure is None]
    named = [(name, *map(_code, (s.p, s.p_c, s.p_a, s.top, s.bottom))) for name, s in NAMED.items()]
    signs = [(name, *(_SIGNS[relation(a, b)] for b in NAMED.values())) for name, a in NAMED.items()]
    found = (
        _table(("statement", "P", "P_C", "P_A", "T", "B"), named),
        _table(("", *NAMED), signs),
        _table(("preset", "term", "statement", "whose probability", "loss"), stated),
        _table(("preset", "term", "why it has no statement"), others),
    )
    return "\n\n".join(found)


def written_into(page: str) -> str:
    r"""A page with its tables made anew.

    >>> written_into(f"# Logic\n{_BEGIN}\nstale\n{_END}\n").count("stale")
    0
    """
    block = f"{_BEGIN}\n{tables()}\n{_END}"
    return re.sub(f"{_BEGIN}.*{_END}", lambda _: block, page, flags=re.DOTALL)


def _called(structure: Structure) -> str:
    """Its name, or T over B."""
    over = f"{_code(structure.top)} over {_code(structure.bottom)}"
    return next((name for name, known in NAMED.items() if known == structure), over)


def _loss(reading: Reading) -> str:
    """For example 0.5·logistic(2·h - 1)."""
    numbers = (reading.coefficient, reading.beta, reading.target)
    times, beta, target = ("(of the pair)" if x is None else f"{x:g}" for x in numbers)
    z = f"{beta}·h" if target == "0" else f"{beta}·h - {target}"
    name = reading.loss.name if reading.loss else ""
    return f"{name}({z})" if times == "1" else f"{times}·{name}({z})"


def _code(formula: Formula) -> str:
    return f"`{formula}`".replace("|", "\\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(written_into(file.read_text(encoding="utf-8")), encoding="utf-8")
