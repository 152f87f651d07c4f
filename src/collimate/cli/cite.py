"""`collimate cite`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import write, write_json


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a method", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="the entries as JSON")] = False,
) -> None:
    """Print the BibTeX entries of a method and of its five choices."""
    from collimate.citations import cite
    from collimate.cli._method import preset

    entries = cite(preset(name)())
    if json:
        write_json({"method": name, "bibtex": entries})
    else:
        write(entries)
