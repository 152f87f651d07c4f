"""`collimate explain`."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from collimate.cli._config import PARAMETERS
from collimate.cli._output import write, write_json
from collimate.cli._values import named


def command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="a method, or FILE.py:NAME", show_default=False),
    ],
    beta: Annotated[str | None, PARAMETERS["beta"][1]] = None,
    param: Annotated[list[str] | None, PARAMETERS["param"][1]] = None,
    json: Annotated[bool, typer.Option("--json", help="every field, as JSON")] = False,
) -> None:
    """Write out a method: its five choices, its loss in plain maths with your numbers, what it needs.

    collimate explain cdpo --beta 0.2 --param label_smoothing=0.05
    """
    from collimate.cli._method import preset, resolve
    from collimate.explanations import explanation, page

    given = named(param, beta)
    found = explanation(resolve(name, given))
    values = given if ".py" in name else _with_defaults(preset(name), given)
    if json:
        write_json({**asdict(found), "parameters": values})
        return
    call = ", ".join(f"{parameter}={value}" for parameter, value in values.items())
    called = replace(found, method=f"{found.method}({call})" if call else found.method)
    write(page(called, max(60, shutil.get_terminal_size((100, 24)).columns)))


def _with_defaults(function: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of a preset, a part of an axis by its name."""
    parameters = inspect.signature(function).parameters.values()
    values = {each.name: given.get(each.name, each.default) for each in parameters}
    return {name: getattr(value, "name", value) for name, value in values.items()}
