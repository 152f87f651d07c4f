"""A folder in which long work goes on: blocks to be done, parts that are done, whose they are.

<folder>/lock                 held while a command works here
<folder>/identity.json        what the parts belong to
<folder>/blocks/00000012      to be done; written anew each time
<folder>/parts/00000012       done: there whole or not at all
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collimate._checks import BadRun
from collimate._files import write_atomically

SCHEMA_VERSION = 1
BAD_ROWS = "bad_rows.jsonl"
_FILES = ("identity.json", BAD_ROWS)
_NAMES = {"blocks", "parts", "lock", *_FILES, *(f".{name}.partial" for name in _FILES)}


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """The folder at `path`, whether it is there or not. Errors of every method: OSError."""

    path: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder, there and ours alone; gone again where work stopped before `require_same`.

        Errors: BadRun where another command works in it, or it holds what no scoring left there.
        """
        strange = sorted(set(os.listdir(self.path)) - _NAMES) if self.path.exists() else []
        if strange:
            raise BadRun(
                f"{self.path} is where finished parts go, but it holds other things ({strange[0]}): "
                "move them away, or name another --out"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by whatever kills us
            except BlockingIOError:
                raise BadRun(
                    f"another command is working in {self.path}: wait for it, or name another --out"
                ) from None
            try:
                yield
            finally:
                if self._identity() is None:  # nothing is known yet that is worth keeping
                    self.remove()

    def begin(self) -> None:
        """Make the folder, without blocks."""
        shutil.rmtree(self.path / "blocks", ignore_errors=True)
        for name in ("blocks", "parts"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def require_same(self, identity: Mapping[str, Any], *, force: bool) -> None:
        """Go on only with parts of the same identity; those of another go away by `force`.

        Errors: BadRun where they are another's, with what differs.
        """
        found = self._identity()
        if found is not None and found != {"schema_version": SCHEMA_VERSION, **identity}:
            if not force:
                differs = [name for name, value in identity.items() if found.get(name) != value]
                raise BadRun(
                    f"{self.path} holds finished parts of another scoring: "
                    f"{', '.join(differs) or 'the schema version'} differ; give what they were "
                    "made with to go on, name another --out, or discard them with --force"
                )
            shutil.rmtree(self.path / "parts")
            (self.path / "parts").mkdir()
        text = json.dumps({"schema_version": SCHEMA_VERSION, **identity}, indent=1)
        write_atomically(self.path / "identity.json", text.encode())

    def block(self, number: int) -> Path:
        """Where a block stands."""
        return self.path / "blocks" / f"{number:08d}"

    def add(self, number: int, part: bytes) -> None:
        """A block is done, whatever happens from now on."""
        write_atomically(self._part(number), part)
        self.block(number).unlink(missing_ok=True)

    def done(self) -> set[int]:
        """The numbers of the blocks that are done."""
        return {int(path.name) for path in (self.path / "parts").iterdir() if path.name.isdigit()}

    def joined(self, count: int) -> Iterator[bytes]:
        """The first `count` parts in order, one at a time."""
        return (self._part(number).read_bytes() for number in range(count))

    def remove(self) -> None:
        """All of it."""
        for name in ("blocks", "parts"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in _NAMES - {"blocks", "parts"}:
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody put a file of his own there meanwhile
            self.path.rmdir()

    def _part(self, number: int) -> Path:
        return self.path / "parts" / f"{number:08d}"

    def _identity(self) -> dict[str, Any] | None:
        """None before anything was done; what cannot be read is nobody's."""
        try:
            found = json.loads((self.path / "identity.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
