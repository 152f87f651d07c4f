"""What data are read as, by what a method reads."""

from __future__ import annotations

from collections.abc import Mapping

from collimate.axes import Needs
from collimate.data import Kind

_KINDS: Mapping[str, Kind] = {
    "pairs": "preference",
    "tokens": "preference",
    "batch": "preference",
    "thumbs": "thumbs",
    "lists": "lists",
}


def kind_of(needs: Needs) -> Kind:
    """What rows are read as for a method with these needs: converted, or refused, where they differ.

    >>> kind_of(Needs(view="thumbs"))
    'thumbs'
    """
    return "triples" if needs.gold else _KINDS[needs.view]
