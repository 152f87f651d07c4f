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
            metavar="RUN...",
            help="folder of a run or a sweep; several runs are compared",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="unset: report.html or frontier.html in the folder; of several, comparison.html here",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write the page of a run or a sweep again, or one that compares runs, and print its path.

    Runs that are still going are shown as far as they are.
    """
    for package in PACKAGES:
        require_extra(package, "report")

    from collimate.report import write as write_report
    from collimate.report import write_comparison, write_sweep

    if len(runs) > 1:
        written = write_comparison(runs, Path("comparison.html") if out is None else out)
    elif (runs[0] / "frontier.json").exists():
        written = write_sweep(runs[0], out)
    else:
        written = write_report(runs[0], out)
    path = str(written)
    if json:
        write_json({"report": path})
    else:
        write(path)
