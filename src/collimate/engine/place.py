"""Where models come from: a folder, or `hub:owner/name`, which alone may reach the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from collimate._checks import BadModel

_HUB = "hub:"


@dataclass(frozen=True, slots=True)
class Place:
    """Where weights or a tokenizer come from; only `hub:owner/name` may reach the network."""

    name: str
    local: bool

    def __str__(self) -> str:
        return self.name if self.local else _HUB + self.name


def place_of(source: str | Path) -> Place:
    """A folder, or a name after `hub:`. Errors: BadModel for what is neither."""
    text = str(source)
    if text.startswith(_HUB):
        return Place(text.removeprefix(_HUB), local=False)
    if not Path(text).is_dir():
        raise BadModel(
            f"there is no model folder '{text}': check the path; for a model on the hub write "
            f"{_HUB}owner/name"
        )
    return Place(text, local=True)


def file_of(place: Place, name: str) -> Path | None:
    """A file of a folder or of the hub; None if it is not there."""
    with suppress(OSError, ValueError):  # the latter where the hub could have no such name
        found = cached_file(place.name, name, local_files_only=place.local)
        return None if found is None else Path(found)
    return None
