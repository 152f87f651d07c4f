"""Typed reading of parsed JSON, with errors that name the file and the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

from collimate._checks import BadRun

T = TypeVar("T")
WAY_OUT = "the file was edited or damaged: restore it, or run the training again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of one JSON object. where: file and place, for messages; path: dotted place.

    Every reader returns `default` where the field is absent or null, and raises `BadRun` where
    it has another type.

    >>> Fields(where="run.json", path="", values={"steps": 3}).integer("steps")
    3
    """

    where: str
    path: str
    values: Mapping[str, Any]

    def fail(self, name: str, expected: str, got: object) -> NoReturn:
        """Raise `BadRun` about the field `name`."""
        raise BadRun(
            f"{self.where}: field '{self.path}{name}' must be {expected}, "
            f"got {shown(got)}; {WAY_OUT}"
        )

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fail(name, "a text", value)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text or null."""
        return None if self.values.get(name) is None else self.text(name)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(name, "true, false or null", value)
        return value

    def number(self, name: str) -> float | None:
        """A number (NaN and infinities are kept) or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, "a number or null", value)
        try:
            return float(value)
        except OverflowError:  # an integer of more than 308 digits
            self.fail(name, "a number that fits a float", "an integer of more than 308 digits")

    def integer(self, name: str) -> int | None:
        """A whole number or null."""
        value = self.number(name)
        if value is None:
            return None
        if not value.is_integer():
            self.fail(name, "a whole number or null", self.values[name])
        return int(self.values[name])

    def interval(self, name: str) -> tuple[float, float] | None:
        """Two numbers, low and high, or null."""
        found = self.numbers(name)
        if found is None:
            return None
        if len(found) != 2:
            self.fail(name, "two numbers [low, high] or null", self.values[name])
        return found[0], found[1]

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """A list of numbers or null."""
        value = self.values.get(name)
        if value is None:
            return None
        for item in self._list(name):
            if isinstance(item, bool) or not isinstance(item, int | float):
                self.fail(name, "a list of numbers", value)
        try:
            return tuple(float(item) for item in value)
        except OverflowError:
            self.fail(name, "numbers that fit a float", "an integer of more than 308 digits")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where absent."""
        items = self._list(name)
        for item in items:
            if not isinstance(item, str):
                self.fail(name, "a list of texts", items)
        return tuple(items)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object as it stands, empty where absent."""
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail(name, "an object {...} or null", value)
        return cast("dict[str, Any]", value)

    def counts(self, name: str) -> Mapping[str, int]:
        """An object of whole numbers, empty where absent; nulls are left out."""
        inner = Fields(where=self.where, path=f"{self.path}{name}.", values=self.mapping(name))
        found = {key: inner.integer(key) for key in inner.values}
        return {key: value for key, value in found.items() if value is not None}

    def amounts(self, name: str) -> Mapping[str, float]:
        """An object of numbers, empty where absent; nulls are left out."""
        inner = Fields(where=self.where, path=f"{self.path}{name}.", values=self.mapping(name))
        found = {key: inner.number(key) for key in inner.values}
        return {key: value for key, value in found.items() if value is not None}

    def record(self, name: str, read: Callable[[Fields], T]) -> T | None:
        """An object read by `read`, or null."""
        if self.values.get(name) is None:
            return None
        return read(Fields(where=self.where, path=f"{self.path}{name}.", values=self.mapping(name)))

    def records(self, name: str, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each read by `read`; empty where absent."""
        found: list[T] = []
        for index, item in enumerate(self._list(name)):
            if not isinstance(item, dict):
                self.fail(f"{name}[{index}]", "an object {...}", item)
            values = cast("dict[str, Any]", item)
            found.append(
                read(Fields(where=self.where, path=f"{self.path}{name}[{index}].", values=values))
            )
        return tuple(found)

    def _list(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail(name, "a list [...]", value)
        return cast("list[Any]", value)


def shown(value: object, limit: int = 60) -> str:
    """`value` as it would be written in JSON-like Python, cut to `limit` characters.

    >>> shown("abc"), shown(list(range(100)), limit=12)
    ("'abc'", '[0, 1, 2, 3,...')
    """
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
