"""`collimate cite`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import write
from collimate.cli._quick import quick_imports


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a method", show_default=False)],
) -> None:
    """Print the BibTeX entries of a method and of its five choices."""
    with quick_imports():
        from collimate.cli._method import preset
        from collimate.compose import cite

    write(cite(preset(name)()))
