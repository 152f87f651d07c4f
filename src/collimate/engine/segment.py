"""One segment of the cache: its name, its header, its check. Needs the standard library only.

A segment is a safetensors file named `<nanoseconds>-<writer>-<hash>.safetensors`: the hash is that
of the whole file, so that one which was cut, mixed up or changed is known before it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, Literal

from collimate._files import write_then_name

SCHEMA_VERSION = 1
SUFFIX = ".safetensors"
PARTIAL = ".partial"

State = Literal["whole", "torn", "unknown schema version"]

_HEADER_BYTES = 4096  # three tensors and a version take some 300


def segments_in(folder: Path) -> list[Path]:
    """The segments of one model, the first written first; none where there is no folder."""
    return [path for path in files_in(folder) if path.suffix == SUFFIX]


def leftovers_in(folder: Path) -> list[Path]:
    """What writers at work, or killed, have not given its name."""
    return [path for path in files_in(folder) if path.suffix == PARTIAL]


def files_in(folder: Path) -> list[Path]:
    """Whatever lies in a folder, by name; nothing where there is no folder. Errors: OSError."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def write_segment(folder: Path, data: bytes) -> Path:
    """Add a segment to the folder of a model, which is made where it is missing. Errors: OSError."""
    writer = uuid.uuid4().hex[:8]

    def name() -> Path:
        # Taken when the bytes are safe: where two segments hold a row the earlier name wins, and
        # one that came to light long after its time would change what others have read since.
        return folder / f"{time.time_ns():020d}-{writer}-{_digest(data)}{SUFFIX}"

    folder.mkdir(parents=True, exist_ok=True)
    return write_then_name(folder / f".{writer}{PARTIAL}", data, name)


def state_of(path: Path, data: bytes) -> State:
    """Whether the content of a segment is what was written, and of a version that can be read."""
    if _digest(data) != path.stem.rpartition("-")[2]:
        return "torn"
    try:
        version = _header(data)["__metadata__"]["schema_version"]
    except (ValueError, KeyError, TypeError):
        version = None
    return "whole" if version == str(SCHEMA_VERSION) else "unknown schema version"


def rows_of(path: Path) -> int:
    """How many rows a segment says it holds, by its header alone; 0 where it cannot be read."""
    try:
        with path.open("rb") as file:
            return int(_header(file.read(_HEADER_BYTES))["key"]["shape"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return 0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _header(data: bytes) -> Any:
    """The JSON that a safetensors file begins with, after its length in eight bytes."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
