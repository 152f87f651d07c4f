"""Per-token log-probs of one model by content: append-only segments, no locks.

A writer adds whole segments; a reader takes each row from the first segment that holds it, and
none from a torn one. See docs/cache.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy

from collimate._checks import BadRun
from collimate.engine.cache import folder_of, mark_used
from collimate.engine.segment import SCHEMA_VERSION, segments_in, state_of, write_segment

SEGMENT_BYTES = 4 * 2**20
KEY_BYTES = 32


def segment_bytes(rows: Mapping[bytes, np.ndarray]) -> bytes:
    """Float32 rows by key as the content of one segment."""
    return safetensors.numpy.save(
        {
            "key": np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), KEY_BYTES),
            "length": np.array([len(row) for row in rows.values()], dtype=np.int64),
            "log_prob": np.concatenate(list(rows.values())),
        },
        metadata={"schema_version": str(SCHEMA_VERSION)},
    )


class KnownKeys:
    """Which rows can be read in the folder of a model, at eight bytes each. Errors: BadRun.

    Another key that begins with the same eight bytes counts as known: then one row is not there for
    the run that looks for it, and is computed by it.
    """

    def __init__(self, folder: Path) -> None:
        parts = [np.empty(0, dtype=np.uint64)]
        for path in _segments(folder):
            with suppress(OSError):  # removed since it was listed, or not to be read
                data = path.read_bytes()
                if state_of(path, data) == "whole":
                    keys = safetensors.numpy.load(data)["key"][:, :8]
                    parts.append(np.ascontiguousarray(keys).view(np.uint64)[:, 0])
        self._sorted = np.unique(np.concatenate(parts))

    def __contains__(self, key: bytes) -> bool:
        number = np.frombuffer(key[:8], dtype=np.uint64)[0]
        at = int(np.searchsorted(self._sorted, number))
        return at < len(self._sorted) and bool(self._sorted[at] == number)


def require_writable(folder: Path, description: Mapping[str, str]) -> None:
    """Errors: BadRun if the folder cannot be written: told before, not after, a long pass."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark_used(folder, description)
    except OSError as error:
        raise _unusable("write", folder, error) from error


def _segments(folder: Path) -> list[Path]:
    try:
        return segments_in(folder)
    except OSError as error:
        raise _unusable("read", folder, error) from error


def _unusable(verb: str, folder: Path, error: OSError) -> BadRun:
    return BadRun(
        f"cannot {verb} the reference cache in {folder}: {error.strerror or error}; free some space, "
        "mend the rights, or choose another folder (cache=..., or COLLIMATE_CACHE)"
    )


class LogProbStore:
    """Rows of float32 log-probs (nats, one per answer token) by `sequence_key`, for one model.

    keys: the rows to hold in memory; None: all there are. description: what a person knows the
    model by. `segments` are the files that rows were read from, or written to; `torn` those that
    are damaged. Errors: BadRun if the folder cannot be read.
    """

    def __init__(
        self,
        root: Path,
        fingerprint: str,
        *,
        keys: Collection[bytes] | None = None,
        description: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder_of(root, fingerprint)
        self.description = description or {}
        self.segments: set[Path] = set()
        self.torn: list[Path] = []
        self._rows: dict[bytes, np.ndarray] = {}
        self._pending: dict[bytes, np.ndarray] = {}
        self._pending_bytes = 0
        self._load(keys)
        if self.segments:
            with suppress(OSError):  # a cache that can only be read is good to read
                mark_used(self.folder, self.description)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, key: bytes) -> np.ndarray:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def require_writable(self) -> None:
        """Errors: BadRun if the folder cannot be written: told before, not after, a long pass."""
        require_writable(self.folder, self.description)

    def add(self, keys: Sequence[bytes], rows: Sequence[np.ndarray]) -> None:
        """Keep the rows whose keys are new; they reach the disk in segments, the last by `flush`.

        Errors: BadRun if the folder cannot be written.
        """
        for key, row in zip(keys, rows, strict=True):
            if key not in self._rows:
                self._rows[key] = self._pending[key] = np.ascontiguousarray(row, dtype=np.float32)
                self._pending_bytes += self._rows[key].nbytes
        if self._pending_bytes >= SEGMENT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one segment. Errors: BadRun if the folder cannot be written."""
        if not self._pending:
            return
        try:
            self.segments.add(self._write(self._pending))
            mark_used(self.folder, self.description)
        except OSError as error:
            raise _unusable("write", self.folder, error) from error
        self._pending, self._pending_bytes = {}, 0

    def settle(self) -> None:
        """Flush, and hold every row as a later run will read it.

        Where another process wrote a row while this one computed it, the first written counts.
        Errors: BadRun if the folder cannot be written or read.
        """
        self.flush()
        self._load(self._rows)

    def _load(self, keys: Collection[bytes] | None) -> None:
        found: set[bytes] = set()
        self.torn = []
        for path in _segments(self.folder):
            for key, row in self._read(path):
                if key not in found and (keys is None or key in keys):
                    found.add(key)
                    self._rows[key] = row.copy()  # a view would hold the whole segment
                    self.segments.add(path)

    def _write(self, rows: Mapping[bytes, np.ndarray]) -> Path:
        return write_segment(self.folder, segment_bytes(rows))

    def _read(self, path: Path) -> Iterator[tuple[bytes, np.ndarray]]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError:
            self.torn.append(path)
            return
        state = state_of(path, data)
        if state == "torn":
            self.torn.append(path)
        if state != "whole":
            return
        tensors = safetensors.numpy.load(data)
        keys, start = tensors["key"].tobytes(), 0
        for i, length in enumerate(tensors["length"].tolist()):
            yield keys[KEY_BYTES * i : KEY_BYTES * (i + 1)], tensors["log_prob"][start:][:length]
            start += length
