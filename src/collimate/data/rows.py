"""Rows of a source, one at a time: files, lists, data sets, and a hub name if the user writes one.

Nothing here knows what the columns mean, and nothing touches the network unless the source is
written `hub:owner/name`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from collimate._checks import BadConfig, BadData, nearest
from collimate.data.bad_rows import BadRow, Reason, shown

FILE_FORMATS = ("auto", "jsonl", "json", "csv", "parquet")


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


Source = str | os.PathLike[str] | Iterable[object]
"""A path, `hub:owner/name[:split]`, a `datasets` data set, or any iterable of mappings."""


def read_rows(source: Source, *, format: str = "auto", name: str | None = None) -> Iterator[Row]:
    """The rows of `source`, streamed in order.

    source: a path to `.jsonl`, `.json` (a list of objects), `.csv` or `.parquet`, each but the last
    also gzipped (told by content, not by name); a `datasets.Dataset` or `IterableDataset`; an
    iterable of mappings; or `hub:owner/name[:split]` (split "train" unless given), the only form
    that uses the network. format: the file format where the name does not tell. name: how messages
    call a source that has no path.
    Raises BadRow at the first row that cannot be read, BadData for a source that is missing, empty
    or broken as a whole, BadConfig for an unknown format.

    >>> [row.values["chosen"] for row in read_rows([{"chosen": "yes", "rejected": "no"}])]
    ['yes']
    """
    for entry in read_entries(source, format=format, name=name):
        if isinstance(entry, BadRow):
            raise entry
        yield entry


def read_entries(
    source: Source, *, format: str = "auto", name: str | None = None
) -> Iterator[Row | BadRow]:
    """Like `read_rows`, but a bad row is yielded in its place, and reading goes on after it."""
    if format not in FILE_FORMATS:
        hint = nearest(str(format), FILE_FORMATS)
        raise BadConfig(f"format must be one of {', '.join(FILE_FORMATS)}, got {format!r}{hint}")
    file = name or source_name(source)
    empty = True
    for entry in _entries(source, format, file):
        empty = False
        yield entry
    if empty:
        raise BadData(f"{file}: expected at least one row, got none (the source is empty)")


def source_name(source: Source) -> str:
    """How messages call a source: its path as given, or what kind of thing it is.

    >>> source_name([{"prompt": "a"}])
    '<list>'
    """
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return f"<{type(source).__name__}>"


def _entries(source: Source, format: str, file: str) -> Iterator[Row | BadRow]:
    # The readers import `Row` from here, so they are imported when they are needed.
    from collimate.data import files, tables

    if isinstance(source, str) and source.startswith("hub:"):
        return tables.read_hub(source, file)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        readers = {
            "jsonl": files.read_jsonl,
            "json": files.read_json,
            "csv": files.read_csv,
            "parquet": tables.read_parquet,
        }
        return readers[_format_of(path, format, file)](path, file)
    if tables.is_dataset(source):
        return tables.read_dataset(source, file)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise BadData(
            f"{file}: expected a path, a data set or an iterable of rows (one mapping of column to "
            f"value for each), got {type(source).__name__}; for columns, pass "
            "datasets.Dataset.from_dict(columns)"
        )
    return read_mappings(source, file)


def read_mappings(rows: Iterable[object], file: str) -> Iterator[Row | BadRow]:
    """Rows of any iterable of mappings; anything else in it is a bad row."""
    for index, values in enumerate(rows):
        if isinstance(values, Mapping):
            columns = cast(Mapping[object, object], values)
            if all(isinstance(column, str) for column in columns):
                yield Row(index=index, values=cast(Mapping[str, object], columns), file=file)
                continue
        yield BadRow(
            file=file,
            row=index,
            line=None,
            field=None,
            reason=Reason.WRONG_TYPE,
            problem=f"expected a mapping of column name to value, got {shown(values)}",
        )


def _format_of(path: Path, format: str, file: str) -> str:
    if not path.exists():
        raise BadData(
            f"{file}: expected a file, but there is none at that path; check the name, or write "
            f"hub:owner/name[:split] to download a data set from the hub"
        )
    if path.is_dir():
        raise BadData(f"{file}: expected a file, got a folder; name one file in it")
    if format != "auto":
        return format
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    known = {
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
        ".json": "json",
        ".csv": "csv",
        ".parquet": "parquet",
    }
    if suffix not in known:
        raise BadData(
            f"{file}: expected a name ending in {', '.join(known)} (or one of these with .gz), got "
            f"'{path.name}'; rename it, or say the format: jsonl, json, csv or parquet"
        )
    return known[suffix]
