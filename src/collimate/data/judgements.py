"""What a row says of its answers: labels, scores, and several answers in one column."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import cast

from collimate.data.bad_rows import Reason, shown
from collimate.data.row import Row


def items(row: Row, field: str) -> list[object]:
    """What a list in `field` holds. Raises BadRow for none, and where it is no list.

    >>> items(Row(index=0, values={"ranking": ["4", "5"]}, file="a.jsonl"), "ranking")
    ['4', '5']
    """
    value = row.values[field]
    if isinstance(value, list | tuple) and value:
        return list(cast("list[object] | tuple[object, ...]", value))
    raise row.bad(
        field,
        Reason.NULL if value is None else Reason.WRONG_TYPE,
        f"expected a list with one answer or more, got {shown(value)}",
    )


def scores(row: Row, answers: str) -> list[float]:
    """The column "scores", one for each item of the column `answers`.

    Raises BadRow for another number of them, and as `score` does.

    >>> row = Row(index=0, values={"completions": ["4", "5"], "scores": [1, 0]}, file="a.jsonl")
    >>> scores(row, "completions")
    [1.0, 0.0]
    """
    given, answered = items(row, "scores"), items(row, answers)
    if len(given) != len(answered):
        raise row.bad(
            "scores",
            Reason.WRONG_TYPE,
            f"expected a score for each of the {len(answered)} {answers}, got {len(given)}",
        )
    return [score(row, "scores", value) for value in given]


def score(row: Row, field: str, value: object) -> float:
    """A value of `field` as a score, larger for a better answer. Raises BadRow for no finite number.

    >>> score(Row(index=0, values={}, file="a.csv", typed=False), "score", "0.5")
    0.5
    """
    if not row.typed and isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise row.bad(
            field,
            Reason.NULL if value is None else Reason.WRONG_TYPE,
            f"expected a finite number, larger for a better answer, got {shown(value)}",
        )
    return float(value)


def label(row: Row) -> int:
    """The column "label": +1 wanted (true, 1), -1 unwanted (false, 0). Raises BadRow for others.

    >>> label(Row(index=0, values={"label": False}, file="a.jsonl"))
    -1
    """
    value = row.values["label"]
    if value is None:
        raise row.bad("label", Reason.NULL, "expected true or false, got null; remove the row")
    if not row.typed:
        value = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower(), value)
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return 1 if value else -1
    raise row.bad(
        "label",
        Reason.WRONG_TYPE,
        f"expected true or false (or 1 or 0), got {shown(value)}; a label says only wanted or not",
    )
