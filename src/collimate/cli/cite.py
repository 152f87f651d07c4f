"""`collimate cite`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import write


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a method", show_default=False)],
) -> None:
    """Print the BibTeX entries of a method and of its five choices."""
    from collimate.cli._method import preset
    from collimate.compose import cite

    write(cite(preset(name)()))
