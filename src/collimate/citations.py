"""BibTeX of a method and of its choices."""

from __future__ import annotations

from collimate._bibliography import bibliography as bibliography
from collimate._bibliography import source_keys as source_keys
from collimate._checks import CollimateError
from collimate.compose import Method


def cite(method: Method) -> str:
    """BibTeX of a method and of its five choices, each entry once, in that order.

    Errors: CollimateError for a source without an entry in the bibliography.

    >>> from collimate.methods import dpo
    >>> cite(dpo()).startswith("@inproceedings{rafailov:23")
    True
    """
    keys = cited(method)
    entries = bibliography()
    missing = [key for key in keys if key not in entries]
    if missing:
        raise CollimateError(f"no bibliography entry for {missing}: add it to references.bib")
    return "\n\n".join(entries[key] for key in keys)


def cited(method: Method) -> tuple[str, ...]:
    """The bibliography keys of a method and of its five choices, each once, in that order.

    >>> from collimate.methods import dpo
    >>> cited(dpo())[0]
    'rafailov:23'
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
    return tuple(dict.fromkeys(keys))
