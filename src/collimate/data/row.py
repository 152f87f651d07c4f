"""One row of a source, before anybody knows what its columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collimate.data.bad_rows import BadRow, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it was read.

    index: 0-based position among the rows. values: column -> value. file: the source as named by
    the user. line: 1-based line where the row starts, None where there are no lines.
    typed: False where the format has only strings (CSV), so that numbers must be parsed.
    """

    index: int
    values: Mapping[str, object]
    file: str
    line: int | None = None
    typed: bool = True

    def bad(self, field: str | None, reason: Reason, problem: str) -> BadRow:
        """The error to raise about this row.

        >>> str(Row(index=3, values={}, file="a.json").bad("prompt", Reason.NULL, "expected text"))
        "a.json, row 3 (counted from 0), field 'prompt': expected text"
        """
        return BadRow(
            file=self.file,
            row=self.index,
            line=self.line,
            field=field,
            reason=reason,
            problem=problem,
        )
