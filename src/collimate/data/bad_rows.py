"""A row that cannot be used: where it is, what is wrong with it, and what to do."""

from __future__ import annotations

from enum import StrEnum

from collimate._checks import BadData


class Reason(StrEnum):
    """Why a row is bad: the names under which skipped rows are counted."""

    MISSING_FIELD = "missing field"
    NULL = "null value"
    WRONG_TYPE = "wrong type"
    EMPTY_PROMPT = "empty prompt"
    EMPTY_ANSWER = "empty answer"
    EQUAL = "chosen equals rejected"
    EQUAL_TOKENS = "chosen equals rejected after tokenisation"
    EQUAL_TRUNCATED = "chosen equals rejected after truncation"
    ANSWER_TOO_LONG = "answer too long"
    ROW_TOO_LONG = "longer than the context"
    NOT_A_PREFIX = "prompt not a prefix after templating"
    TEMPLATE = "refused by the chat template"
    MIXED = "mixed formats"
    UNSUPPORTED = "unsupported format"
    NOT_UTF8 = "invalid UTF-8"
    SURROGATE = "lone surrogate"
    NOT_FINITE = "not a finite number"
    NEGATIVE = "negative weight"
    OUTSIDE_VOCABULARY = "token outside the vocabulary"
    BROKEN_JSON = "broken JSON"
    WRONG_COLUMNS = "wrong number of columns"


class BadRow(BadData):
    """One bad row, with its place.

    file: the source as named by the user. row: 0-based position among the rows. line: 1-based line
    of a text file, None where there are no lines. field: the column, None if the whole row is bad.

    >>> raise BadRow(file="a.jsonl", row=2, line=3, field="chosen", reason=Reason.EMPTY_ANSWER,
    ...              problem="expected a text, got ''")
    Traceback (most recent call last):
    collimate.data.bad_rows.BadRow: a.jsonl, line 3 (row 2), field 'chosen': expected a text, got ''
    """

    def __init__(
        self,
        *,
        file: str,
        row: int,
        line: int | None,
        field: str | None,
        reason: Reason,
        problem: str,
    ) -> None:
        where = f"row {row} (counted from 0)" if line is None else f"line {line} (row {row})"
        column = "" if field is None else f", field '{field}'"
        super().__init__(f"{file}, {where}{column}: {problem}")
        self.file, self.row, self.line, self.field = file, row, line, field
        self.reason = reason

    def record(self) -> dict[str, object]:
        """What `bad_rows.jsonl` holds of it: file, row, field, reason, message.

        >>> bad = BadRow(file="a.csv", row=0, line=2, field=None, reason=Reason.MIXED, problem="-")
        >>> bad.record()["reason"]
        'mixed formats'
        """
        return {
            "file": self.file,
            "row": self.row,
            "field": self.field,
            "reason": self.reason.value,
            "message": str(self),
        }


def shown(value: object, limit: int = 60) -> str:
    """`value` as it stands in a message: its repr, cut to about `limit` characters.

    >>> shown("word " * 40, 20)
    "'word word word word..."
    """
    text = repr(value[: 2 * limit] if isinstance(value, str) else value)
    return text if len(text) <= limit else text[:limit] + "..."
