"""Files that are complete or absent, and lie where they seem to."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    A link in its place is replaced, never written through. Errors: OSError, with the old content
    still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path`, all links followed, lies in `folder`.

    >>> is_inside(Path("runs/a/model"), Path("runs/a")), is_inside(Path("runs/a/../b"), Path("runs/a"))
    (True, False)
    """
    return path.resolve().is_relative_to(folder.resolve())
