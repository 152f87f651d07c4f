"""`collimate demo`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write, write_json
from collimate.cli._settings import HELP
from collimate.cli.train import PACKAGES, REPORT_PACKAGES


def command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="run folder")] = Path("runs/demo"),
    progress: Annotated[bool, typer.Option(help=HELP["progress"])] = True,
    json: Annotated[bool, typer.Option("--json", help="the comparison as JSON")] = False,
) -> None:
    """Align a tiny model with three divergences and compare each with the exact optimum."""
    for package in PACKAGES:
        require_extra(package, "train")
    for package in REPORT_PACKAGES:
        require_extra(package, "report")

    from collimate.jobs.demo import demo

    found = demo(out, progress=progress)
    if json:
        write_json({"report": str(found.report), "outcomes": list(map(asdict, found.outcomes))})
    else:
        write(str(found.report))
