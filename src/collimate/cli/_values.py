"""Parameters of a method as text: numbers, texts, and parts of an axis such as `alpha(0.5)`."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from collimate._checks import BadConfig, nearest

AXES: Mapping[str, str] = {
    "divergence": "collimate.divergences",
    "margin": "collimate.margins",
    "loss": "collimate.losses",
    "tradeoff": "collimate.tradeoffs",
}
"""Parameters that name a part of an axis, and where its parts are."""

_PART = re.compile(r"\s*(?P<name>\w+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")


def literal(text: str) -> Any:
    """A value written as in TOML; what is none is the text itself.

    >>> literal("0.5"), literal("true"), literal("reverse_kl")
    (0.5, True, 'reverse_kl')
    """
    if "\n" in text:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return float(text)  # .5 and 1. are no TOML
    except ValueError:
        return text


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts by name. Errors: BadConfig for one without a name, or named twice.

    >>> assignments(["beta=0.2"])
    {'beta': 0.2}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier() or not value.strip():
            raise BadConfig(f"--param must be NAME=VALUE, such as beta=0.2, got '{text}'")
        if name in found:
            raise BadConfig(f"--param {name} is given twice: keep one")
        found[name] = literal(value.strip())
    return found


def named(texts: Iterable[str] | None, beta: str | None) -> dict[str, Any]:
    """A method's parameters from the flags `--param` and `--beta`.

    Errors: BadConfig as `assignments`, and for a beta that is given twice.

    >>> named(["lam=0.5"], "0.2")
    {'lam': 0.5, 'beta': 0.2}
    """
    found = assignments(texts or ())
    if beta is None:
        return found
    if "beta" in found:
        raise BadConfig("--beta and --param beta=... are both given: keep one")
    return {**found, "beta": literal(beta)}


def bind(
    where: str, function: Callable[..., Any], given: Mapping[str, Any], *, skip: int = 0
) -> dict[str, Any]:
    """`given` as keyword arguments of `function`, whose first `skip` parameters are not the user's.

    A parameter named after an axis takes a part of it by name. Errors: BadConfig for an unknown
    name, with the nearest; for a value of another type than the default's; for one that is missing.
    """
    parameters = dict(list(inspect.signature(function).parameters.items())[skip:])
    for name in given:
        if name not in parameters:
            known = f"it has {', '.join(parameters)}" if parameters else "it has none"
            raise BadConfig(
                f"{where} has no parameter '{name}'; {known}{nearest(name, parameters)}"
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise BadConfig(f"{where} needs its parameter '{name}': give --param {name}=VALUE")
    return {name: _argument(where, parameters[name], value) for name, value in given.items()}


def part(axis: str, text: str) -> Any:
    """A part of an axis by name, with arguments where it takes some: `alpha(0.5)`; nothing is run.

    Errors: BadConfig for an unknown name, with the nearest, and for arguments it does not take.

    >>> part("divergence", "reverse_kl").name
    'reverse_kl'
    """
    module = importlib.import_module(AXES[axis])
    known = {name: getattr(module, name) for name in module.__all__}
    known = {name: value for name, value in known.items() if not inspect.isclass(value)}
    match = _PART.fullmatch(text)
    if match is None:
        raise BadConfig(f"{axis} must be a name such as {_examples(known)}, got '{text}'")
    name = match["name"]
    if name not in known:
        raise BadConfig(f"unknown {axis} '{name}'; known: {_examples(known)}{nearest(name, known)}")
    found = known[name]
    if not inspect.isfunction(found):
        if match["arguments"] is not None:
            raise BadConfig(f"{axis} '{name}' takes no arguments: write {axis}={name}")
        return found
    if match["arguments"] is None:
        raise BadConfig(f"{axis} '{name}' needs its arguments: write {_call(name, found)}")
    positional, named = _arguments(match["arguments"])
    signature = inspect.signature(found)
    try:
        given = signature.bind(*positional, **named).arguments
    except TypeError as error:
        raise BadConfig(f"{axis} '{text}': {error}; write {_call(name, found)}") from None
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadConfig(f"{axis} '{text}': expected numbers, got {value!r}")
    try:
        return found(**{key: _real(signature.parameters[key], v) for key, v in given.items()})
    except (ValueError, OverflowError) as error:  # numbers at which the part is no longer exact
        raise BadConfig(f"{axis} '{text}' cannot be computed: {error}") from error


def _argument(where: str, parameter: inspect.Parameter, value: Any) -> Any:
    if parameter.name in AXES:
        if not isinstance(value, str):
            raise BadConfig(f"{where}: {parameter.name} must be named, got {value!r}")
        return part(parameter.name, value)
    default = parameter.default
    number = isinstance(default, int | float) and not isinstance(default, bool)
    if number and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadConfig(f"{where}: {parameter.name} must be a number, got {value!r}")
    if isinstance(default, bool) and not isinstance(value, bool):
        raise BadConfig(f"{where}: {parameter.name} must be true or false, got {value!r}")
    return _real(parameter, value)


def _real(parameter: inspect.Parameter, value: Any) -> Any:
    """A whole number as a float where a float is declared, as in TOML `beta = 1`."""
    declared = parameter.annotation in ("float", float)
    return float(value) if declared and type(value) is int else value


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, value = item.partition("=")
        if equals:
            named[name.strip()] = literal(value.strip())
        else:
            positional.append(literal(item))
    return positional, named


def _examples(known: Mapping[str, Any]) -> str:
    return ", ".join(
        _call(name, value) if inspect.isfunction(value) else name for name, value in known.items()
    )


def _call(name: str, function: Callable[..., Any]) -> str:
    return f"{name}({', '.join(inspect.signature(function).parameters)})"
