"""`collimate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write, write_json


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="unset: report.html in the run folder")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write the report of a run again, also of one that is still going, and print its path."""
    for package in ("jinja2", "plotly"):
        require_extra(package, "report")

    from collimate.report import write as write_report

    path = str(write_report(run, out))
    if json:
        write_json({"report": path})
    else:
        write(path)
