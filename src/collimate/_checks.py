"""Errors a user sees, and the checks that raise them.

Every message says what was expected, what came, where, and what to do.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Iterable


class CollimateError(Exception):
    """Base of every error that a user can cause and mend."""


class BadComposition(CollimateError):
    """Parts that cannot be a method together, or a view that a method cannot read."""


class BadConfig(CollimateError):
    """A parameter, flag or file setting outside its domain."""


class BadData(CollimateError):
    """A row, file or data set that cannot be trained or scored on."""


class BadModel(CollimateError):
    """A model or tokenizer that cannot be loaded or used as asked."""


class BadRun(CollimateError):
    """A run folder that cannot be read, written or resumed."""


class LostProcess(CollimateError):
    """Another process of the same run is gone."""


class MissingExtra(CollimateError):
    """An optional dependency is needed and not installed."""


class NotConverged(CollimateError):
    """An optimiser of the lab stopped before its gradient vanished."""


class OutOfMemory(CollimateError):
    """The machine has too little memory for what was asked."""


class TrainingFailed(CollimateError):
    """Training met a state from which going on would only waste time."""


def require_extra(module: str, extra: str) -> None:
    """Raise `MissingExtra` unless `module` can be imported; `extra` is what to install.

    >>> require_extra("torch", "train")
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(
            f"this needs the package '{module}', which is not installed; "
            f'install it with: pip install "collimate[{extra}]"'
        )


def positive(name: str, value: float) -> float:
    """Return `value` if it is a finite number above zero, else raise `BadConfig`.

    >>> positive("beta", 0.1)
    0.1
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadConfig(f"{name} must be a number above 0, got {value!r}")
    if not math.isfinite(value) or value <= 0:
        raise BadConfig(f"{name} must be finite and above 0, got {value!r}")
    return value


def at_least_zero(name: str, value: float) -> float:
    """Return `value` if it is a finite number of at least zero, else raise `BadConfig`.

    >>> at_least_zero("l1", 0.0)
    0.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadConfig(f"{name} must be a number of at least 0, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise BadConfig(f"{name} must be finite and at least 0, got {value!r}")
    return value


def within(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if low <= value < high, else raise `BadConfig`.

    >>> within("label_smoothing", 0.1, 0.0, 0.5)
    0.1
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadConfig(f"{name} must be a number in [{low}, {high}), got {value!r}")
    if not low <= value < high:
        raise BadConfig(f"{name} must be in [{low}, {high}), got {value!r}")
    return value


def within_closed(name: str, value: float, low: float, high: float) -> float:
    """Return `value` if low <= value <= high, else raise `BadConfig`.

    >>> within_closed("mixture", 1.0, 0.0, 1.0)
    1.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadConfig(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")
    return value


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    """Return `value` if it is one of `known`, else raise `BadConfig` with the nearest.

    >>> one_of("ties", "average", ("average", "random"))
    'average'
    """
    allowed = tuple(known)
    if value not in allowed:
        said = ", ".join(map(repr, allowed))
        raise BadConfig(f"{name} must be one of {said}, got {value!r}{nearest(value, allowed)}")
    return value


def same_length(**lengths: int) -> int:
    """Return the common length of arrays that belong together, else raise `BadData`; not zero.

    >>> same_length(forecast=3, outcome=3)
    3
    """
    found = set(lengths.values())
    if len(found) > 1 or not min(found):
        said = ", ".join(f"{count} of {name}" for name, count in lengths.items())
        raise BadData(f"expected one entry of each per row, and at least one row, got {said}")
    return found.pop()


def nearest(word: str, known: Iterable[str]) -> str:
    """A '; did you mean ...?' hint for a misspelt word, or nothing.

    >>> nearest("bta", ["beta", "gamma"])
    "; did you mean 'beta'?"
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""
