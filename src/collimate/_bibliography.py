"""The bibliography, as text by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files


def source_keys(source: str) -> list[str]:
    """The bibliography keys in a source such as 'rafailov:23 eq. 7; wang:24 eq. 8'.

    >>> source_keys("rafailov:23 eq. 7; wang:24 eq. 8")
    ['rafailov:23', 'wang:24']
    """
    return [part.split()[0] for part in source.split(";") if part.strip()]


def bibliography() -> Mapping[str, str]:
    """Every entry of references.bib by key."""
    text = files("collimate").joinpath("references.bib").read_text(encoding="utf-8")
    entries = ["@" + entry.strip() for entry in re.split(r"(?m)^@", text)[1:]]
    return {re.split(r"[{,]", entry)[1].strip(): entry for entry in entries}
