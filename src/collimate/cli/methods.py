"""`collimate methods`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import table, write, write_json
from collimate.jobs.methods import catalogue


def command(
    json: Annotated[bool, typer.Option("--json", help="every choice, as JSON")] = False,
) -> None:
    """List the published methods: parameters, five choices, source."""
    entries = catalogue()
    if json:
        write_json([entry.to_json() for entry in entries])
        return
    head = ("method", "divergence", "margin", "loss", "source")
    rows = [
        (entry.signature, entry.divergence, entry.margin, entry.loss, entry.source)
        for entry in entries
    ]
    write(table([head, *rows]))
    write("\nall five choices: --json · references: collimate cite NAME")
