"""Files that are complete or absent, and lie where they seem to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file, piece by piece if need be, so that a reader sees the old content or the new.

    One writer at a time; a link in its place is replaced, never written through. Errors: OSError,
    with the old content still there.
    """
    write_then_name(path.with_name(f".{path.name}.partial"), data, lambda: path)


def write_then_name(partial: Path, data: bytes | Iterable[bytes], name: Callable[[], Path]) -> Path:
    """Write `partial`, and rename it to `name()` once its bytes are on the disk.

    Writers that give their partial files names of their own need not know of each other.
    Errors: OSError, with nothing left behind.
    """
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        return partial.replace(name())
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path`, all links followed, lies in `folder`.

    >>> is_inside(Path("runs/a/model"), Path("runs/a")), is_inside(Path("runs/a/../b"), Path("runs/a"))
    (True, False)
    """
    return path.resolve().is_relative_to(folder.resolve())
