"""Standard output, for people and pipes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import typer

PIPE_CLOSED = 141  # 128 + SIGPIPE, what a shell reports of other programs


def is_main() -> bool:
    """Whether this is the first, or the only, of the processes that torchrun or accelerate started."""
    return os.environ.get("RANK", "0") == "0"


def is_alone() -> bool:
    """Whether torchrun or accelerate started no other process."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def write(text: str) -> None:
    """One text and a line break on standard output, by the main process.

    Quiet if the reader has gone away.
    """
    if not is_main():
        return
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(PIPE_CLOSED) from None


def write_json(value: Any) -> None:
    """A value as indented JSON."""
    write(json.dumps(value, indent=1, ensure_ascii=False))


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows as left-aligned columns, two spaces apart.

    >>> print(table([("name", "loss"), ("dpo", "logistic")]))
    name  loss
    dpo   logistic
    """
    cells = list(rows)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def size(count: int | float) -> str:
    """A number of bytes to three digits.

    >>> size(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
