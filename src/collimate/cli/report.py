"""`collimate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write, write_json

PACKAGES = ("jinja2", "plotly")


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="run folders; several are compared", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="unset: report.html in the run folder, or comparison.html in the current one",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write the report of a run again, or one page that compares several, and print its path.

    Runs that are still going are shown as far as they are.
    """
    for package in PACKAGES:
        require_extra(package, "report")

    from collimate.report import write as write_report
    from collimate.report import write_comparison

    if len(runs) == 1:
        path = str(write_report(runs[0], out))
    else:
        path = str(write_comparison(runs, Path("comparison.html") if out is None else out))
    if json:
        write_json({"report": path})
    else:
        write(path)
