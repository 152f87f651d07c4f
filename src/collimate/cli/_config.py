"""TOML config files: the flags' names as keys, a `[method]` table, nothing unknown.

Relative paths in a config file mean what they mean on the command line: they start at the current
directory, not at the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from collimate._checks import BadConfig, nearest
from collimate.cli._settings import Kind, Setting
from collimate.cli._values import named

PLACES = ("model", "data", "out", "evaluation", "reference", "tokenizer")
"""Keys whose value is a path or a hub name."""

OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "config": (
        Path,
        typer.Option("--config", metavar="FILE.toml", help="the same names; flags win"),
    ),
    "model": (str, typer.Option("--model", metavar="DIR", help="folder, or hub:owner/name")),
    "data": (str, typer.Option("--data", metavar="FILE", help="preference pairs")),
    "tokenizer": (str, typer.Option("--tokenizer", metavar="DIR", help="unset: the model's")),
}
"""Flags that several commands take: type and description by name."""

PARAMETERS: Mapping[str, tuple[Any, Any]] = {
    "beta": (str, typer.Option("--beta", metavar="NUMBER", help="short for --param beta=NUMBER")),
    "param": (
        list[str],
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="of the method, such as divergence=alpha(0.5); may be repeated",
        ),
    ),
}
"""Flags of commands that take a method: its parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a config file says: places and settings by name, the method and its parameters."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_config(path: Path | None, kinds: Mapping[str, Setting]) -> Config:
    """A TOML file of `kinds` and a method, every key known and every value of its type; may be none.

    `[method]` holds `name` and the method's parameters; `method = "dpo"` is short for the name
    alone. Errors: BadConfig with the file, the key, what was expected and what came.
    """
    if path is None:
        return Config()
    content = _toml(path)
    method, parameters = _method(path, content.pop("method", None))
    values = {key: _value(path, key, content[key], kinds, also=["method"]) for key in content}
    return Config(values=values, method=method, parameters=parameters)


def read_values(path: Path | None, kinds: Mapping[str, Setting]) -> dict[str, Any]:
    """The values in a TOML file by name, none without a file. Errors: as `read_config`."""
    return {} if path is None else {k: _value(path, k, v, kinds) for k, v in _toml(path).items()}


def chosen_method(
    config: Config, given: Mapping[str, Any], default: str | None = None
) -> tuple[str | None, dict[str, Any]]:
    """Name and parameters: the file's, unless the flag --method names another; flags win."""
    own = config.method or default
    name = given["method"] or own
    parameters = dict(config.parameters) if name == own else {}
    return name, {**parameters, **named(given["param"], given["beta"])}


def keys(kind: Kind, *names: str) -> dict[str, Setting]:
    """Keys that are no settings of a run: places, and switches of a command."""
    return {name: Setting(name=name, kind=kind, default=None) for name in names}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(
            f"{path}: expected TOML (name = value, texts in quotes), but: {error}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: expected UTF-8 text, but byte {error.start} is not") from error
    except OSError as error:
        raise BadConfig(
            f"cannot read the config file {path}: {error.strerror}; check the path"
        ) from error


def _method(path: Path, value: Any) -> tuple[str | None, dict[str, Any]]:
    if value is None or isinstance(value, str):
        return value, {}
    if not isinstance(value, dict):
        raise BadConfig(
            f"{path}, key 'method': expected a name in quotes or a table [method], got {value!r}"
        )
    parameters = dict(value)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise BadConfig(
            f'{path}, table [method]: expected name = "..." (a preset, or my_file.py:function), '
            f"got {'none' if name is None else repr(name)}"
        )
    return name, parameters


def _value(
    path: Path, key: str, value: Any, kinds: Mapping[str, Setting], also: Sequence[str] = ()
) -> Any:
    if key not in kinds:
        dashes = "; keys are written with underscores" if key.replace("-", "_") in kinds else ""
        raise BadConfig(f"{path}: unknown key '{key}'{dashes or nearest(key, [*kinds, *also])}")
    try:
        return kinds[key].parse(value)
    except ValueError as error:
        raise BadConfig(f"{path}, key '{key}': expected {error}, got {value!r}") from None
