"""`collimate methods`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import table, write, write_json
from collimate.jobs.methods import catalogue


def command(
    json: Annotated[bool, typer.Option("--json", help="every choice, as JSON")] = False,
) -> None:
    """List the published methods: parameters, margin, loss; with --json all five choices and sources."""
    entries = catalogue()
    if json:
        write_json([entry.to_json() for entry in entries])
        return
    head = ("method", "margin", "loss")
    rows = [(entry.signature, entry.margin, entry.loss) for entry in entries]
    write(table([head, *rows]))
    write("\nall five choices: --json · references: collimate cite NAME")
