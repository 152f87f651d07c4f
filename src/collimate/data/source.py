"""Rows of a source, one at a time: files, lists, data sets, and a hub name if the user writes one.

Nothing here knows what the columns mean, and nothing touches the network unless the source is
written `hub:owner/name`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from collimate._checks import BadConfig, BadData, nearest
from collimate.data.bad_rows import BadRow
from collimate.data.files import read_csv, read_json, read_jsonl
from collimate.data.row import Row
from collimate.data.tables import (
    is_dataset,
    read_dataset,
    read_hub,
    read_mappings,
    read_parquet,
)

_READERS: Mapping[str, Callable[[Path, str], Iterator[Row | BadRow]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "parquet": read_parquet,
}
_ENDINGS = {**{f".{name}": name for name in _READERS}, ".ndjson": "jsonl"}

FORMATS = ("auto", *_READERS)
"""How a file may be written; "auto": as its name ends."""

Source = str | os.PathLike[str] | Iterable[object]
"""A path, `hub:owner/name[:split]`, a `datasets` data set, or any iterable of mappings."""


def read_rows(source: Source, *, format: str = "auto", name: str | None = None) -> Iterator[Row]:
    """The rows of `source`, streamed in order.

    source: a path to `.jsonl`, `.json` (a list of objects), `.csv` or `.parquet`, each but the last
    also gzipped (told by content, not by name); a `datasets.Dataset` or `IterableDataset`; an
    iterable of mappings; or `hub:owner/name[:split]` (split "train" unless given), the only form
    that uses the network. format: of a file, one of `FORMATS`. name: how messages call a source that
    has no path.
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
    if format not in FORMATS:
        hint = nearest(str(format), FORMATS)
        raise BadConfig(f"format must be one of {', '.join(FORMATS)}, got {format!r}{hint}")
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
    if isinstance(source, str) and source.startswith("hub:"):
        return read_hub(source, file)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return _READERS[_format_of(path, format, file)](path, file)
    if is_dataset(source):
        return read_dataset(source, file)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise BadData(
            f"{file}: expected a path, a data set or an iterable of rows (one mapping of column to "
            f"value for each), got {type(source).__name__}; for columns, pass "
            "datasets.Dataset.from_dict(columns)"
        )
    return read_mappings(source, file)


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
    if suffix not in _ENDINGS:
        raise BadData(
            f"{file}: expected a name ending in {', '.join(_ENDINGS)} (or one of these with .gz), "
            f"got '{path.name}'; rename it, or name its format with --format, for example "
            "--format jsonl (format='jsonl')"
        )
    return _ENDINGS[suffix]
