"""Numbers that come with a row ("weight", "margin", ratings): checked, and alike in all rows."""

from __future__ import annotations

import math
from numbers import Real

from collimate.data.bad_rows import Reason, shown
from collimate.data.row import Row

KNOWN_NUMBERS = ("weight", "margin", "density_ratio")
"""Columns that methods read: if one row has them, every row must."""


def read_numbers(row: Row, used: frozenset[str]) -> dict[str, float]:
    """The numbers among the columns that are not in `used`; true and false are no numbers.

    In CSV, where every cell is a string, a cell that reads as a finite number is one.
    Raises BadRow for NaN and infinities, for a negative weight, and for a "weight" or "margin" that
    is null or no number.

    >>> row = Row(index=0, values={"chosen": "a", "weight": 2, "rater": "kim"}, file="a.jsonl")
    >>> read_numbers(row, frozenset({"chosen"}))
    {'weight': 2.0}
    """
    numbers: dict[str, float] = {}
    for column, value in row.values.items():
        if column in used:
            continue
        number = _number(value, parse=not row.typed)
        if not row.typed and column not in KNOWN_NUMBERS and not _finite(number):
            continue  # "nan" may be a word there
        if number is None:
            if column in KNOWN_NUMBERS:
                raise _not_a_number(row, column, value)
            continue
        if not _finite(number):
            raise row.bad(
                column,
                Reason.NOT_FINITE,
                f"expected a finite number, got {shown(value)}; fill it, or remove the row or the "
                "column",
            )
        numbers[column] = number
    if numbers.get("weight", 0.0) < 0:
        raise row.bad(
            "weight",
            Reason.NEGATIVE,
            f"expected a weight of 0 or more, got {numbers['weight']}; to turn a preference round, "
            "swap chosen and rejected",
        )
    return numbers


def check_known(row: Row, numbers: dict[str, float], expected: frozenset[str]) -> None:
    """Raise BadRow unless the row has just the `KNOWN_NUMBERS` that the first row had."""
    for column in KNOWN_NUMBERS:
        if (column in numbers) == (column in expected):
            continue
        had, has = ("a", "none") if column in expected else ("no", "one")
        raise row.bad(
            column,
            Reason.MIXED,
            f"expected what the first row has, {had} '{column}', got {has}; give it in every row "
            "or in none",
        )


def known_numbers(numbers: dict[str, float]) -> frozenset[str]:
    """Which of `KNOWN_NUMBERS` are there."""
    return frozenset(numbers) & frozenset(KNOWN_NUMBERS)


def _number(value: object, *, parse: bool) -> float | None:
    if isinstance(value, str) and parse:
        try:
            return float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond 1.8e308
        return math.inf


def _finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _not_a_number(row: Row, column: str, value: object) -> Exception:
    missing = value is None or value == ""
    return row.bad(
        column,
        Reason.NULL if missing else Reason.WRONG_TYPE,
        f"expected a number, got {'null' if missing else shown(value)}; give one in every row, or "
        "remove the column",
    )
