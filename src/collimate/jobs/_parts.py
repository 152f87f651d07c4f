"""A folder in which long work goes on: blocks to be done, parts that are done, whose they are.

    <folder>/identity.json        what the parts belong to
    <folder>/blocks/00000012      to be done; written anew each time
    <folder>/parts/00000012       done: there whole or not at all

One writer at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collimate._checks import BadRun
from collimate._files import write_atomically

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PartsFolder:
    """The folder at `path`, whether it is there or not. Errors of every method: OSError."""

    path: Path

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

    def discard_unless_begun(self) -> None:
        """Leave nothing behind of work that stopped before anything was known."""
        if self._identity() is None:
            self.remove()

    def remove(self) -> None:
        """All of it."""
        shutil.rmtree(self.path, ignore_errors=True)

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
