"""The cache folder as a whole: what is in it, its bound, its check. Needs the standard library only.

    <cache>/log_probs/<fingerprint>/<segment>   rows of one model, see `engine.segment`
                                    model.json  what a person knows the model by; its time is that
                                                of the last use; nothing is read by it

Nothing is locked. A segment is there whole or not at all; whoever finds one gone since it was
listed goes on without it, and a run has what it has read in memory.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from collimate._files import write_then_name
from collimate.engine.segment import (
    PARTIAL,
    SCHEMA_VERSION,
    files_in,
    leftovers_in,
    rows_of,
    segments_in,
    state_of,
)

LEFTOVER_SECONDS = 3600  # a partial file, or an empty folder, this old has lost its writer

_DESCRIPTION = "model.json"


def default_cache() -> Path:
    """`$COLLIMATE_CACHE`, else `collimate` in the user's cache folder."""
    chosen = os.environ.get("COLLIMATE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collimate"


def folder_of(root: Path, fingerprint: str) -> Path:
    """Where the cache `root` keeps the rows of a model."""
    return root / "log_probs" / fingerprint


def mark_used(folder: Path, description: Mapping[str, str]) -> None:
    """Say that the model of a folder was used now, and what it is. Errors: OSError."""
    content = json.dumps({"schema_version": SCHEMA_VERSION, **description}, indent=1)
    partial = folder / f".{_DESCRIPTION}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    write_then_name(partial, content.encode(), lambda: folder / _DESCRIPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """What the cache holds of one model.

    rows: answers, one counted twice where two runs computed it at once. last_use: seconds since
    1970. description: model (path or name as given), architecture, layout, precision; empty where
    it is lost.
    """

    fingerprint: str
    rows: int
    segments: int
    bytes: int
    last_use: float
    description: Mapping[str, str]


def cached_models(root: Path) -> list[CachedModel]:
    """Every model in the cache, the last used first."""
    found: list[CachedModel] = []
    for folder in _folders(root):
        sizes = _sizes(segments_in(folder))
        if sizes:
            found.append(
                CachedModel(
                    fingerprint=folder.name,
                    rows=sum(map(rows_of, sizes)),
                    segments=len(sizes),
                    bytes=sum(sizes.values()),
                    last_use=_last_use(folder),
                    description=_description(folder),
                )
            )
    return sorted(found, key=lambda model: -model.last_use)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What `collect` removed: the files, their bytes, and the bytes of the segments left."""

    removed: tuple[Path, ...]
    freed: int
    left: int


def collect(
    root: Path, *, max_bytes: float, keep: Collection[Path] = (), dry_run: bool = False
) -> Collected:
    """Remove segments until `max_bytes` are left, and what killed writers left an hour ago.

    Those of the model used longest ago go first, the oldest of them before the others, and none of
    `keep`, even if that is more than the bound. dry_run: only say what would be removed.
    Errors: OSError where a file may not be removed.
    """
    folders = sorted(_folders(root), key=_last_use)
    sizes = _sizes([path for folder in folders for path in segments_in(folder)])
    left, doomed = sum(sizes.values()), dict[Path, int]()
    for path, size in sizes.items():
        if left > max_bytes and path not in keep:
            doomed[path] = size
            left -= size
    doomed |= _sizes([path for folder in folders for path in leftovers_in(folder) if _old(path)])
    if not dry_run:
        for path in doomed:
            path.unlink(missing_ok=True)
        for folder in folders:
            if _old(folder) and [path.name for path in files_in(folder)] in ([], [_DESCRIPTION]):
                (folder / _DESCRIPTION).unlink(missing_ok=True)
                with suppress(OSError):  # a writer came in between, and keeps its folder
                    folder.rmdir()
    return Collected(removed=tuple(doomed), freed=sum(doomed.values()), left=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What `verify` found.

    segments, bytes: how many could be read. damaged: segment -> what is wrong with it; no run
    reads it. unknown: segments of another schema version, which this version leaves alone.
    leftovers: partial files of writers at work or killed.
    """

    segments: int
    bytes: int
    damaged: Mapping[Path, str]
    unknown: tuple[Path, ...]
    leftovers: tuple[Path, ...]


def verify(root: Path) -> Verified:
    """Read every segment and compare it with the hash in its name."""
    damaged, unknown = dict[Path, str](), list[Path]()
    segments = size = 0
    folders = _folders(root)
    for path in [path for folder in folders for path in segments_in(folder)]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            damaged[path] = f"cannot be read: {error.strerror}"
            continue
        segments, size = segments + 1, size + len(data)
        state = state_of(path, data)
        if state == "torn":
            damaged[path] = "torn: its content is not what its name says"
        elif state != "whole":
            unknown.append(path)
    return Verified(
        segments=segments,
        bytes=size,
        damaged=damaged,
        unknown=tuple(unknown),
        leftovers=tuple(path for folder in folders for path in leftovers_in(folder)),
    )


def _folders(root: Path) -> list[Path]:
    return [path for path in files_in(folder_of(root, "")) if path.is_dir()]


def _sizes(paths: Collection[Path]) -> dict[Path, int]:
    """Bytes by path, those left out that are gone since they were listed."""
    found: dict[Path, int] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_size
    return found


def _last_use(folder: Path) -> float:
    """By the description's time; a model that has lost it was used when last written."""
    for path in (folder / _DESCRIPTION, *segments_in(folder)[-1:]):
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def _old(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime < time.time() - LEFTOVER_SECONDS
    return False


def _description(folder: Path) -> Mapping[str, str]:
    try:
        content = json.loads((folder / _DESCRIPTION).read_bytes())
        return {name: str(value) for name, value in content.items() if name != "schema_version"}
    except (OSError, ValueError, AttributeError):
        return {}
