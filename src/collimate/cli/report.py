"""`collimate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write, write_json


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="folder of a run or sweep", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="unset: report.html, or frontier.html, in it"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="the path as JSON")] = False,
) -> None:
    """Write the page of a run or a sweep again, also of one still going, and print its path."""
    for package in ("jinja2", "plotly"):
        require_extra(package, "report")

    from collimate.report import write as write_report
    from collimate.report import write_sweep

    is_sweep = (run / "frontier.json").exists()
    path = str(write_sweep(run, out) if is_sweep else write_report(run, out))
    if json:
        write_json({"report": path})
    else:
        write(path)
