"""The run folder: written atomically, one writer, readable at any moment. See docs/run-folder.md."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collimate._checks import BadRun
from collimate._files import is_inside, write_atomically

SCHEMA_VERSION = 1

# What a run that was killed before its first record leaves behind: no reason to refuse the folder.
_BEFORE_RECORD = {
    "bad_rows.jsonl",
    ".bad_rows.jsonl.partial",
    ".writable",
    "..writable.partial",
    ".run.json.partial",
    "pairs",
    "tokenizer",
    ".tokenizer.partial",
}

# What --resume reads of run.json, and of which type.
_CONTINUED: Mapping[str, type | tuple[type, ...]] = {
    "status": str,
    "created": str,
    "identity": str,
    "seconds": (int, float),
    "phases": dict,
    "reference": (dict, type(None)),
    "evaluation": dict,
    "samples": list,
}


class RunFolder:
    """Paths and files of one run. writes: False in processes that leave it to the main one."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.record_path = path / "run.json"
        self.metrics_path = path / "metrics.jsonl"
        self.model_path = path / "model"
        self.checkpoints_path = path / "checkpoints"
        self.report_path = path / "report.html"
        self.bad_rows_path = path / "bad_rows.jsonl"
        self.pairs_path = path / "pairs"
        self.tokenizer_path = path / "tokenizer"
        self.suspect_rows_path = path / "suspect_rows.jsonl"

    def require_new(self) -> None:
        """Errors: BadRun if the folder holds a run or other files, or cannot be made."""
        if self.record_path.exists():
            raise BadRun(
                f"{self.path} already holds a run: continue it with --resume (resume=True), or "
                "choose another folder"
            )
        if self.path.exists() and (not self.path.is_dir() or self._names() - _BEFORE_RECORD):
            raise BadRun(f"{self.path} is not an empty folder: choose a new one for the run")
        there = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise BadRun(f"cannot write to {self.path}: {there} is no folder you can write to")

    def _names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}

    def create(self) -> None:
        """Make the folder. Errors: BadRun if it cannot be written to."""
        if not self.writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for left in (self.pairs_path, self.tokenizer_path):  # by a run killed before its record
                shutil.rmtree(left, ignore_errors=True)
            probe = self.path / ".writable"
            write_atomically(probe, b"")
            probe.unlink()
        except OSError as error:
            raise BadRun(f"cannot write to {self.path}: {error.strerror or error}") from error

    def read_record(self) -> dict[str, Any]:
        """run.json. Errors: BadRun if it is missing, broken or of another schema version."""
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BadRun(
                f"{self.path} holds no run (no run.json): check the folder, or begin the run without "
                "--resume"
            ) from error
        except OSError as error:
            raise BadRun(f"cannot read {self.record_path}: {error.strerror or error}") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadRun(
                f"{self.record_path} is not valid JSON ({error}): it was damaged"
            ) from error
        version = record.get("schema_version") if isinstance(record, dict) else None
        if version != SCHEMA_VERSION:
            raise BadRun(
                f"{self.record_path} has schema_version {version!r}, this version reads "
                f"{SCHEMA_VERSION}: use the version of collimate that wrote it"
            )
        if "status" not in record:
            raise BadRun(f"{self.record_path} has no status: it was damaged")
        return record

    def require_whole(self) -> dict[str, Any]:
        """run.json of a run that can go on.

        Errors: BadRun if a field to continue from is missing or of another type, or a link leads out
        of the folder: what is written there would land elsewhere.
        """
        record = self.read_record()
        for name, kind in _CONTINUED.items():
            if name not in record or not isinstance(record[name], kind):
                raise BadRun(
                    f"{self.record_path}: field '{name}' is missing or was damaged "
                    f"(got {str(record.get(name))[:60]}): restore the file, or start a new run"
                )
        for path in self.path.rglob("*"):
            if not is_inside(path, self.path):
                raise BadRun(
                    f"{path} is a link out of the run folder, to {path.resolve()}: put the file itself "
                    "there; a run writes in its own folder only"
                )
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace run.json in one move. Errors: BadRun if it cannot be written."""
        if not self.writes:
            return
        with writing(self.record_path):
            write_atomically(
                self.record_path,
                json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=1).encode(),
            )

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl. Errors: BadRun if it cannot be written."""
        if not self.writes:
            return
        with writing(self.metrics_path), self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> Iterator[Mapping[str, Any]]:
        """The lines of metrics.jsonl, one after the other. Errors: BadRun if one was damaged."""
        if not self.metrics_path.exists():
            return
        with self.metrics_path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def metrics_size(self) -> int:
        """Bytes of metrics.jsonl, on disk for good. Errors: BadRun if they cannot be put there."""
        if not self.metrics_path.exists():
            return 0
        with writing(self.metrics_path), self.metrics_path.open("rb") as file:
            os.fsync(file.fileno())
        return self.metrics_path.stat().st_size

    def cut_metrics(self, size: int) -> None:
        """Cut metrics.jsonl back to what a checkpoint had seen.

        Errors: BadRun if it holds less, or cannot be written.
        """
        held = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        if held < size:
            raise BadRun(
                f"{self.metrics_path} has {held} bytes, and the checkpoint had seen {size}: lines were "
                "removed; put them back, or start a new run"
            )
        if held and self.writes:
            with writing(self.metrics_path):
                os.truncate(self.metrics_path, size)

    def write_bad_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """bad_rows.jsonl, one object per skipped row; no file if there is none. Errors: BadRun."""
        self._write_rows(self.bad_rows_path, rows)

    def write_suspect_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """suspect_rows.jsonl, one object per row that an alarm names. Errors: BadRun."""
        self._write_rows(self.suspect_rows_path, rows)

    def _write_rows(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        if not self.writes:
            return
        with writing(path):
            if not write_json_lines(path, rows):
                path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file could not be written: a full disk's own error names none. Errors: BadRun."""
    try:
        yield
    except OSError as error:
        raise BadRun(
            f"cannot write {path}: {error.strerror or error}; free some space, or mend the rights "
            "there, and continue with --resume"
        ) from error


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> bool:
    """One JSON object per line; no file if there is no row. Returns whether there was one."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if text:
        write_atomically(path, text.encode())
    return bool(text)
