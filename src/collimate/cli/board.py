"""`collimate board`."""

from __future__ import annotations

import contextlib
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from collimate._checks import require_extra
from collimate.cli._output import write


def command(
    runs: Annotated[
        Path, typer.Argument(metavar="RUNS", help="folder of run folders", show_default=False)
    ],
    host: Annotated[
        str, typer.Option(help="address to listen on; one of another machine's needs a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(help="what a visitor must know; unset: made up unless this machine's alone"),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
) -> None:
    """Show a folder of runs as a web page of this machine, live while they go on; Ctrl-C stops it."""
    for package in ("starlette", "uvicorn", "tokenizers"):
        require_extra(package, "board")

    from collimate.board import serve

    def ready(address: str) -> None:
        write(f"the board of {runs} is at {address}")
        if open_browser:
            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
        serve(runs, host=host, port=port, token=token, ready=ready)
