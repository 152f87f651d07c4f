"""What is known about a data set once every row was read: counts, lengths, a hash, plain words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Int

from collimate._types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Median and largest length."""

    median: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of a loaded data set; `to_json` is DATA in docs/run-folder.md.

    hash: of all token ids, boundaries, labels, weights and columns, in order; equal on every
    platform. rows: rows read. used: rows that became examples. skipped: reason -> rows left out.
    *_tokens: lengths in tokens, the end-of-sequence token included; for thumbs, chosen are the
    wanted answers and rejected the unwanted ones, for lists the best one and the others; None where
    there are none.
    duplicates: rows equal to an earlier one. contradictions: rows that prefer the other way round
    than an earlier one. ties: rows left out because chosen equals rejected, and rows used whose
    answers differ only in case and white space. chosen_longer: share of pairs whose chosen answer
    has more tokens, equal lengths counting half; None for thumbs. columns: numbers that every
    example has. ignored: all other columns. notes: plain sentences about what a user should know.
    """

    file: str
    hash: str
    rows: int
    used: int
    skipped: Mapping[str, int]
    format: str
    prompt_tokens: Lengths
    chosen_tokens: Lengths | None
    rejected_tokens: Lengths | None
    prompts_truncated: int
    answers_truncated: int
    duplicates: int
    contradictions: int
    ties: int
    chosen_longer: float | None
    joint_tokenisation_differs: int
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """DATA of the run record."""
        return asdict(self)


def content_hash(examples: Iterable[Example]) -> str:
    """SHA-256 of the examples in order: ids, boundaries, labels, scores, weights and columns.

    Numbers are hashed in one byte order, so the hash does not depend on the platform; row
    numbers and file names do not enter it.

    >>> content_hash([])[:8]
    'e3b0c442'
    """
    digest = hashlib.sha256()
    for example in examples:
        # Lengths go first, so that a moved boundary gives another hash.
        lengths = [len(example.prompt), len(example.answers), len(example.columns)]
        digest.update(np.array([*lengths, *(len(a.ids) for a in example.answers)], "<i8").tobytes())
        digest.update(ids_bytes(example.prompt))
        for answer in example.answers:
            known = [np.nan if x is None else x for x in (answer.label, answer.score)]
            digest.update(ids_bytes(answer.ids) + np.array(known, "<f8").tobytes())
            if answer.token_weight is not None:
                digest.update(b"weights" + answer.token_weight.astype("<f8").tobytes())
        for name, value in sorted(example.columns.items()):
            digest.update(name.encode("utf-8") + b"\0" + np.array(value, "<f8").tobytes())
    return digest.hexdigest()


def ids_bytes(ids: Int[np.ndarray, " token"]) -> bytes:
    """Token ids as little-endian 32-bit, whatever the platform."""
    return ids.astype("<i4", copy=False).tobytes()
