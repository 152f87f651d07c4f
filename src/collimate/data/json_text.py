"""Strict JSON: no NaN, no Infinity, no repeated keys; objects of one list streamed from a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from io import TextIOWrapper
from typing import Any, cast

from collimate._checks import BadData
from collimate.data.bad_rows import Reason, shown

PIECE = 1 << 18  # characters read at a time


class JsonProblem(ValueError):
    """Why a text is not the JSON object of a row; `field` where one can be named."""

    def __init__(self, reason: Reason, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason, self.field = reason, field


def parse_object(text: str) -> dict[str, object]:
    """The object that `text` holds.

    Raises JsonProblem for broken JSON, NaN or Infinity (which Python's own reader accepts), a key
    given twice, and anything but an object.

    >>> parse_object('{"weight": 0.5}')
    {'weight': 0.5}
    >>> parse_object('{"weight": NaN}')  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    collimate.data.json_text.JsonProblem: expected a finite number, got NaN, which is not JSON...
    """
    try:
        value: object = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise _broken(error.msg, text, error.pos) from None
    except JsonProblem as problem:
        raise _with_field(problem, text) from None
    except (ValueError, RecursionError) as error:  # integers of many digits; nesting too deep
        raise JsonProblem(Reason.BROKEN_JSON, f"expected JSON, got {error}") from None
    return _as_object(value)


def stream_list(
    stream: TextIOWrapper, file: str
) -> Iterator[tuple[int, dict[str, object] | JsonProblem]]:
    """(line, object or problem) of each item of the one JSON list in `stream`.

    Raises BadData if the root is no list, or where the JSON breaks.
    """
    text = _Text(stream)
    first = text.peek()
    if not first:
        return
    if first != "[":
        raise BadData(
            f"{file}, line {text.line}: expected a JSON list of objects ([{{...}}, ...]), got "
            f"{shown(text.rest(40))}; to read one object per line: --format jsonl (format='jsonl')"
        )
    text.skip(1)
    if text.peek() != "]":
        while True:
            text.peek()
            yield text.line, text.item(file)
            mark = text.peek()
            if mark == ",":
                text.skip(1)
            elif mark == "]":
                break
            else:
                found = shown(text.rest(40)) if mark else "the end of the file"
                raise BadData(
                    f"{file}, line {text.line}: expected ',' or ']' after an object of the list, "
                    f"got {found}; the JSON is broken or cut: write the file again"
                )
    text.skip(1)
    if text.peek():
        raise BadData(
            f"{file}, line {text.line}: expected nothing after the JSON list, got "
            f"{shown(text.rest(40))}; keep one list in the file"
        )


class _Text:
    """The unread part of a stream, with the line it starts at."""

    def __init__(self, stream: TextIOWrapper) -> None:
        self._stream, self._buffer, self._at, self._ended = stream, "", 0, False
        self.line = 1

    def peek(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    return self._buffer[self._at]
                self.skip(1)
            if not self._more():
                return ""

    def rest(self, length: int) -> str:
        return self._buffer[self._at : self._at + length]

    def skip(self, length: int) -> None:
        self.line += self._buffer.count("\n", self._at, self._at + length)
        self._at += length

    def item(self, file: str) -> dict[str, object] | JsonProblem:
        """Read one item; a problem inside a whole item is returned, a break of the JSON raised."""
        while True:
            try:
                value, end = cast("tuple[object, int]", _LOOSE.raw_decode(self._buffer, self._at))
            except (ValueError, RecursionError) as error:
                if self._more():
                    continue
                raise BadData(
                    f"{file}, line {self.line}: expected a JSON object, got broken or cut JSON "
                    f"({error}) in {shown(self.rest(60))}; mend it or write the file again"
                ) from None
            # A number at the end of the buffer may go on in the next piece.
            if end < len(self._buffer) or not self._more():
                break
        raw = self._buffer[self._at : end]
        self.skip(end - self._at)
        try:
            raw.encode("utf-8")
            return parse_object(raw) if isinstance(value, dict) else _as_object(value)
        except UnicodeEncodeError:
            return JsonProblem(
                Reason.NOT_UTF8, f"expected UTF-8 text, got {shown(raw)}; save the file as UTF-8"
            )
        except JsonProblem as problem:
            return problem

    def _more(self) -> bool:
        # At least doubling, so that a long item is scanned a few times only.
        piece = "" if self._ended else self._stream.read(max(PIECE, len(self._buffer) - self._at))
        self._ended = not piece
        self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return not self._ended


def _as_object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise JsonProblem(
            Reason.WRONG_TYPE,
            f"expected a JSON object ({{column: value, ...}}), got {shown(value)}",
        )
    return cast("dict[str, object]", value)


def _broken(message: str, text: str, position: int) -> JsonProblem:
    near = shown(text[max(0, position - 15) : position + 15])
    return JsonProblem(
        Reason.BROKEN_JSON,
        f"expected a JSON object on one line, got broken JSON ({message} at character {position}, "
        f"near {near}); mend or remove the line",
    )


def _with_field(problem: JsonProblem, text: str) -> JsonProblem:
    """The same problem, naming the column that holds the NaN or infinity."""
    values: Any = _LOOSE.decode(text)
    if problem.field is None and isinstance(values, dict):
        for column, value in cast("dict[str, object]", values).items():
            if isinstance(value, float) and not math.isfinite(value):
                return JsonProblem(problem.reason, str(problem), column)
    return problem


def _refuse_constant(name: str) -> float:
    raise JsonProblem(
        Reason.NOT_FINITE,
        f"expected a finite number, got {name}, which is not JSON; give a number or remove the row",
    )


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonProblem(
            Reason.BROKEN_JSON,
            f"expected each key once, got '{twice}' more than once; keep one of them",
            twice,
        )
    return values


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_distinct)
_LOOSE = json.JSONDecoder()
