"""The pair explorer's questions: which pairs, in which order, and which of them are on the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collimate._checks import BadConfig, nearest
from collimate.report import DERIVED, Pairs

MOST_LISTED = 500
BOUNDED = (
    *("displacement", "ches", "ches_length_normalised", "margin", "length", "loss", "gap"),
    *("row", "step", "log_ratio_chosen", "log_ratio_rejected", "log_prob_chosen"),
    *("log_prob_rejected", "prompt_tokens", "chosen_tokens", "rejected_tokens"),
)
"""The columns that can be sorted by and bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the page asks for. low, high: bounds by column, both included.

    text: part of a prompt or an answer, case ignored. suspect: only rows that an alarm named.
    """

    sort: str = "index"
    descending: bool = False
    low: Mapping[str, float]
    high: Mapping[str, float]
    text: str = ""
    suspect: bool = False
    offset: int = 0
    limit: int = 50


def question(given: Mapping[str, str]) -> Question:
    """The question in an address's parameters; empty ones are as good as absent.

    Errors: BadConfig for an unknown parameter, or a value that is none.

    >>> question({"sort": "loss", "min_margin": "-1.5"}).low
    {'margin': -1.5}
    """
    known = {"sort", "descending", "text", "suspect", "offset", "limit"}
    bounds = {f"{side}_{name}" for side in ("min", "max") for name in BOUNDED}
    given = {name: value for name, value in given.items() if value != ""}
    for name in given:
        if name not in known | bounds:
            raise BadConfig(f"there is no parameter {name!r}{nearest(name, known | bounds)}")
    sort = given.get("sort", "index")
    if sort not in ("index", *BOUNDED):
        raise BadConfig(f"sort must be a column, got {sort!r}{nearest(sort, BOUNDED)}")
    return Question(
        sort=sort,
        descending=_flag(given, "descending"),
        low={name: _number(given, f"min_{name}") for name in BOUNDED if f"min_{name}" in given},
        high={name: _number(given, f"max_{name}") for name in BOUNDED if f"max_{name}" in given},
        text=given.get("text", ""),
        suspect=_flag(given, "suspect"),
        offset=_whole(given, "offset", 0, 10**9),
        limit=_whole(given, "limit", 50, MOST_LISTED),
    )


def answer(
    pairs: Pairs,
    asked: Question,
    *,
    suspect_rows: frozenset[int] = frozenset(),
    having: Callable[[str], NDArray[np.bool_]] | None = None,
) -> NDArray[np.int64]:
    """Indices of all pairs that the question is about, in its order.

    Bounds leave out pairs whose value is not known yet; in the order these come last, whichever way
    it goes. Equal values stay in the order of the data. having: which pairs [pair] have a text.

    >>> from pathlib import Path
    >>> table = np.array([[3.0], [np.nan], [1.0]])
    >>> pairs = Pairs(folder=Path("run"), columns=("loss",), table=table)
    >>> answer(pairs, question({"sort": "loss", "descending": "1"})).tolist()
    [0, 2, 1]
    """
    kept = np.ones(len(pairs), dtype=np.bool_)
    for name, bound in asked.low.items():
        kept &= pairs.column(name) >= bound
    for name, bound in asked.high.items():
        kept &= pairs.column(name) <= bound
    if asked.suspect:
        kept &= np.isin(pairs.column("row"), sorted(suspect_rows))
    if asked.text and having is not None:
        kept &= having(asked.text)
    found = np.flatnonzero(kept)
    if asked.sort == "index":
        return found[::-1] if asked.descending else found
    values = pairs.column(asked.sort)[found]
    return found[np.argsort(-values if asked.descending else values, kind="stable")]  # NaN: last


def ranges(pairs: Pairs) -> dict[str, tuple[float, float]]:
    """Smallest and largest known value of each column that has one."""
    found: dict[str, tuple[float, float]] = {}
    for name in BOUNDED:
        if name in pairs.columns or name in DERIVED:
            values = pairs.column(name)
            known = values[np.isfinite(values)]
            if len(known):
                found[name] = float(known.min()), float(known.max())
    return found


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise BadConfig(f"{name} must be 0 or 1, got {value!r}")
    return value == "1"


def _number(given: Mapping[str, str], name: str) -> float:
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadConfig(f"{name} must be a number, got {given[name]!r}")
    return value


def _whole(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    value = given.get(name, str(default))
    if not (value.isascii() and value.isdecimal() and len(value) < 12 and int(value) <= most):
        raise BadConfig(f"{name} must be a whole number from 0 to {most}, got {value!r}")
    return int(value)
