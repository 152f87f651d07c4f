"""A content-addressed store of per-token log-probs: append-only segments, no locks.

One folder per model fingerprint. A writer appends whole segments (safetensors, named by time,
writer and content hash) by atomic rename; a reader checks the hash, so a torn segment is never
read. Where two segments hold the same key the first one written wins.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from collimate._checks import BadRun

SCHEMA_VERSION = 1
SEGMENT_BYTES = 4 * 2**20


def default_cache() -> Path:
    """`$COLLIMATE_CACHE`, else `collimate` in the user's cache folder."""
    chosen = os.environ.get("COLLIMATE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collimate"


class LogProbStore:
    """Rows of float32 log-probs (nats, one per answer token) by `sequence_key`, for one model."""

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / "log_probs" / fingerprint
        self.torn: list[Path] = []
        self._rows: dict[bytes, np.ndarray] = {}
        self._pending: dict[bytes, np.ndarray] = {}
        self._pending_bytes = 0
        for path in sorted(self.folder.glob("*.safetensors")):
            for key, row in self._read(path).items():
                self._rows.setdefault(key, row)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def __getitem__(self, key: bytes) -> np.ndarray:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

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
            self._write(self._pending)
        except OSError as error:
            raise BadRun(
                f"cannot write the reference cache in {self.folder}: {error.strerror or error}; "
                "free some space or choose another folder (cache=..., or COLLIMATE_CACHE)"
            ) from error
        self._pending, self._pending_bytes = {}, 0

    def _write(self, rows: Mapping[bytes, np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        data = safetensors.numpy.save(
            {
                "key": np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 32),
                "length": np.array([len(row) for row in rows.values()], dtype=np.int64),
                "log_prob": np.concatenate(list(rows.values())),
            },
            metadata={"schema_version": str(SCHEMA_VERSION)},
        )
        digest = hashlib.sha256(data).hexdigest()[:32]
        writer = uuid.uuid4().hex[:8]
        name = f"{time.time_ns():020d}-{writer}-{digest}.safetensors"
        partial = self.folder / f".{name}.partial"
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.folder / name)

    def _read(self, path: Path) -> dict[bytes, np.ndarray]:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:32] != path.stem.rsplit("-", 1)[-1]:
            self.torn.append(path)
            return {}
        tensors = safetensors.numpy.load(data)
        ends = np.cumsum(tensors["length"])
        rows = np.split(tensors["log_prob"], ends[:-1])
        return {key.tobytes(): row for key, row in zip(tensors["key"], rows, strict=True)}
