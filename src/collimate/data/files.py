"""Readers of text files: JSON lines, a JSON list, CSV; plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from collimate._checks import BadData
from collimate.data.bad_rows import BadRow, Reason, shown
from collimate.data.json_text import JsonProblem, parse_object, stream_list
from collimate.data.row import Row

# One of these must head a CSV file: a file whose first line is data has none of them.
KNOWN_COLUMNS = ("chosen", "rejected", "prompt", "completion", "responses", "text", "messages")

_LIST_HINT = "; to read a file that holds one JSON list: --format json (format='json')"


def read_jsonl(path: Path, file: str) -> Iterator[Row | BadRow]:
    """One object per line; blank lines are no rows. A broken line is a bad row, the rest is read.

    Raises BadData for a file that cannot be opened or a broken gzip stream.
    """
    with _opened(path, file) as stream:
        index = 0
        for number, line in enumerate(stream, 1):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not raw.strip():
                continue
            yield _json_row(raw, index, number, file)
            index += 1


def _json_row(raw: bytes, index: int, line: int, file: str) -> Row | BadRow:
    row = Row(index=index, values={}, file=file, line=line)
    try:
        text = raw.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        return row.bad(
            None,
            Reason.NOT_UTF8,
            f"expected UTF-8 text, got byte 0x{raw[error.start]:02x} at position {error.start} of "
            "the line; save the file as UTF-8",
        )
    try:
        values = parse_object(text)
    except JsonProblem as problem:
        listed = index == 0 and text.lstrip().startswith("[")
        hint = _LIST_HINT if listed else ""
        return row.bad(problem.field, problem.reason, f"{problem}{hint}")
    return Row(index=index, values=values, file=file, line=line)


def read_json(path: Path, file: str) -> Iterator[Row | BadRow]:
    """The objects of one JSON list, read piece by piece, so that the text is never all in memory.

    Raises BadData where the file is no list or is broken: after a break no later row can be found.
    """
    with _opened(path, file) as stream, _as_text(stream) as text:
        for index, (line, item) in enumerate(stream_list(text, file)):
            row = Row(index=index, values={}, file=file, line=line)
            if isinstance(item, JsonProblem):
                yield row.bad(item.field, item.reason, str(item))
            else:
                yield Row(index=index, values=item, file=file, line=line)


def read_csv(path: Path, file: str) -> Iterator[Row | BadRow]:
    """Comma-separated values with a header line; quoted cells may hold line breaks.

    A row with another number of cells than the header is a bad row. Raises BadData for a missing
    or unclear header and for broken quoting, after which no later row can be found.
    """
    with _opened(path, file) as stream, _as_text(stream) as text, _long_cells():
        reader = csv.reader(text, strict=True)
        header = _next_cells(reader, file)
        if header is None:
            return
        _check_header(header, file)
        index = 0
        while True:
            line = reader.line_num + 1
            cells = _next_cells(reader, file)
            if cells is None:
                return
            if not cells:
                continue
            row = Row(
                index=index,
                values=dict(zip(header, cells, strict=False)),
                file=file,
                line=line,
                typed=False,
            )
            index += 1
            yield _checked_cells(row, header, cells)


def _checked_cells(row: Row, header: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(header):
        return row.bad(
            None,
            Reason.WRONG_COLUMNS,
            f"expected {len(header)} cells ({', '.join(header)}), got {len(cells)}; quote cells "
            "that hold commas or line breaks",
        )
    for column, cell in zip(header, cells, strict=True):
        if not _is_utf8(cell):
            return row.bad(
                column,
                Reason.NOT_UTF8,
                f"expected UTF-8 text, got {shown(cell)}; save the file as UTF-8",
            )
    return row


def _check_header(header: list[str], file: str) -> None:
    named = f"got {shown(header, 120)}"
    if not set(header) & set(KNOWN_COLUMNS):
        raise BadData(
            f"{file}, line 1: expected a header that names the columns (prompt, chosen, rejected), "
            f"{named}; add a header line"
        )
    repeated = [column for column in header if header.count(column) > 1]
    if repeated or "" in header:
        raise BadData(
            f"{file}, line 1: expected a header with one distinct name for each column, {named}; "
            "rename the columns"
        )


def _next_cells(reader: Any, file: str) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BadData(
            f"{file}, line {reader.line_num}: expected comma-separated values with closed quotes, "
            f"got broken CSV ({error}); mend the quoting (a quote inside a cell is written twice)"
        ) from None


def _is_utf8(text: str) -> bool:
    # Undecodable bytes were read as U+DC80..U+DCFF, which have no UTF-8 form.
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _opened(path: Path, file: str) -> Generator[BinaryIO]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise BadData(f"{file}: expected a readable file, got {error.strerror}") from None
    with raw:
        if raw.peek(2)[:2] != b"\x1f\x8b":
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as packed:
                yield cast(BinaryIO, io.BufferedReader(packed, 1 << 18))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BadData(
                f"{file}: expected a whole gzip file, got a broken or cut one ({error}); download "
                "or pack it again"
            ) from None


@contextmanager
def _as_text(stream: BinaryIO) -> Generator[io.TextIOWrapper]:
    # surrogateescape: an undecodable byte must spoil its own row, not the file.
    wrapper = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    with closing(wrapper):
        yield wrapper


@contextmanager
def _long_cells() -> Generator[None]:
    # The csv module's limit is global (131072 characters), and answers may be longer.
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
