"""Where a page or an export is written: a file of its own, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from collimate._checks import BadRun
from collimate._files import write_atomically


def save(path: Path, content: str | bytes, *, what: str, example: str) -> None:
    """Write a file; an old one in its place stays whole until the new one is.

    what, example: "the report" and "report.html", for messages. Errors: BadRun where the path is a
    folder, its folder is missing, or the disk refuses.

    >>> save(Path("absent/card.md"), "", what="the card", example="README.md")
    Traceback (most recent call last):
    collimate._checks.BadRun: cannot write absent/card.md: the folder absent does not exist;
        create it first
    """
    if path.is_dir():
        raise BadRun(
            f"{what} must be a file, but {path} is a folder; name a file, such as {path / example}"
        )
    if not path.parent.is_dir():
        raise BadRun(
            f"cannot write {path}: the folder {path.parent} does not exist; create it first"
        )
    if isinstance(content, str):
        # A lone surrogate can come out of JSON, and is no text that UTF-8 could hold.
        content = content.encode("utf-8", errors="replace")
    try:
        write_atomically(path, content)
    except OSError as error:
        raise BadRun(
            f"cannot write {path}: {error.strerror}; "
            "free some space, check permissions, or name another path"
        ) from error
