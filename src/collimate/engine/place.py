"""Where models come from: a folder, or `hub:owner/name`, which alone may reach the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers.utils.hub import cached_file

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
    """A file of a folder, of the hub, or, of a local place that is no folder, of the hub's cache."""
    if Path(place.name).is_dir():
        path = Path(place.name) / name
        return path if path.exists() else None
    with suppress(OSError, ValueError):  # the latter where the hub could have no such name
        # Not even to send headers: huggingface_hub asks the hub for what it puts into them.
        look = try_to_load_from_cache if place.local else cached_file
        found = look(place.name, name)
        return Path(found) if isinstance(found, str) else None
    return None
