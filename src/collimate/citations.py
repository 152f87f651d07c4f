"""BibTeX of a method and of its choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from collimate._checks import CollimateError
from collimate.compose import Method


def cite(method: Method) -> str:
    """BibTeX of a method and of its five choices, each entry once, in that order.

    Errors: CollimateError for a source without an entry in the bibliography.

    >>> from collimate.methods import dpo
    >>> cite(dpo()).startswith("@inproceedings{rafailov:23")
    True
    """
    parts = (
        method,
        method.distribution,
        method.divergence,
        method.margin,
        method.loss,
        method.tradeoff,
        *(part for summand in method.also for part in (summand.margin, summand.loss)),
    )
    keys = [key for part in parts for key in source_keys(getattr(part, "source", ""))]
    entries = bibliography()
    missing = [key for key in keys if key not in entries]
    if missing:
        raise CollimateError(f"no bibliography entry for {missing}: add it to references.bib")
    return "\n\n".join(entries[key] for key in dict.fromkeys(keys))


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
