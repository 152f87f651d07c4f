"""`collimate export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write, write_json
from collimate.cli.train import PACKAGES


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="run or model folder", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="a new folder")],
    merge: Annotated[
        bool, typer.Option("--merge", help="merge a LoRA adapter into its base model")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Copy a run's model and tokenizer to a plain transformers folder, and print its path."""
    for package in PACKAGES:
        require_extra(package, "train")

    from collimate.jobs.export import export

    folder = str(export(run, out, merge=merge))
    if json:
        write_json({"folder": folder})
    else:
        write(folder)
