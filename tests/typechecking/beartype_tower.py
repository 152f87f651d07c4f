"""beartype as users' type checkers read annotations: an int is a float (PEP 484's numeric tower)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

Function = Callable[..., Any]

_checked: Callable[[Function], Function] = beartype(conf=BeartypeConf(is_pep484_tower=True))
_nested: dict[tuple[object, ...], tuple[tuple[Any, ...], Function]] = {}


def check(function: Function) -> Function:
    """The function with its arguments and result checked.

    jaxtyping passes here functions that have the signature of ours and no content. Of a function
    within a function it makes one whenever the outer one is called: where hints and defaults are
    those of the last time, the checks are too, and beartype need not write them anew.
    """
    if "<locals>" not in function.__qualname__:
        return _checked(function)
    code = function.__code__
    names = (code.co_varnames, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    key = (function.__module__, function.__qualname__, code.co_flags, *names)
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    hints = (*function.__annotations__.values(), *defaults)
    known, found = _nested.get(key, ((), None))
    if found is None or len(known) != len(hints) or not all(map(_same, known, hints)):
        found = _checked(function)
        _nested[key] = hints, found
    return found


def _same(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and (one == other) is True)
