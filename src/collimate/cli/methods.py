"""`collimate methods`."""

from __future__ import annotations

from typing import Annotated

import typer

from collimate.cli._output import table, write, write_json
from collimate.jobs.methods import Entry, catalogue

WIDTH = 120
"""Columns that the plain table keeps to."""


def command(
    wide: Annotated[
        bool, typer.Option("--wide", help="all columns, some 250 characters; try | less -S")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="every field, as JSON")] = False,
) -> None:
    """List the published methods: parameters, data, whether a reference is needed, loss of margin.

    With --wide also the five choices with their numbers, the divergences that are legal, the source.
    """
    entries = catalogue()
    if json:
        write_json([entry.to_json() for entry in entries])
        return
    row = _wide if wide else _narrow
    heads = ("method", "data", "ref", "loss of margin")
    lines = table([_WIDE_HEADS if wide else heads, *map(row, entries)]).splitlines()
    if not wide:
        lines = [line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…" for line in lines]
    write("\n".join(lines))
    write(
        "\none with its numbers: collimate explain NAME · BibTeX: collimate cite NAME"
        f"{'' if wide else ' · all: --wide'}"
    )


_WIDE_HEADS = (
    *("method", "distribution", "divergence", "margin", "loss", "trade-off", "further losses"),
    *("data", "reference", "legal divergences", "source"),
)


def _narrow(entry: Entry) -> tuple[str, ...]:
    """Names without numbers."""
    loss, margin = (text.partition("(")[0] for text in (entry.loss, entry.margin))
    more = f" + {len(entry.also)} more" if entry.also else ""
    return entry.call, _data(entry), _yes(entry.reference), f"{loss} of {margin}{more}"


def _wide(entry: Entry) -> tuple[str, ...]:
    return (
        *(entry.signature, entry.distribution, entry.divergence, entry.margin, entry.loss),
        *(entry.tradeoff, ", ".join(entry.also) or "-", _data(entry), _yes(entry.reference)),
        *(entry.legal_divergences, entry.source),
    )


def _data(entry: Entry) -> str:
    return ", ".join([entry.data, *entry.columns, *(["step"] if entry.whole_step else [])])


def _yes(it: bool) -> str:
    return "yes" if it else "no"
