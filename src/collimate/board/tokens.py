"""Texts of token ids, with the run's own tokenizer; numbers where it has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.report import Pairs, load_pairs

Decode = Callable[[Sequence[int]], str]
CONTEXT = (
    6  # tokens before an answer: a text's first token may be written otherwise than a later one
)
LONGEST = 8  # tokens that one character may take


def decoder(run_folder: Path) -> Decode:
    """How this run's ids are written as text.

    Errors: BadRun for a damaged tokenizer.json, or one that is a link out of the run folder.
    """
    for name in ("tokenizer", "model"):
        path = run_folder / name / "tokenizer.json"
        if path.exists():
            if not is_inside(path, run_folder):
                raise BadRun(f"{path} is a link out of the run folder: put the file itself there")
            return _decoder(path, path.stat().st_mtime_ns)
    return as_numbers


def as_numbers(ids: Sequence[int]) -> str:
    """Ids as numbers.

    >>> as_numbers([5, 12])
    ' 5 12'
    """
    return "".join(f" {identity}" for identity in ids)


def pieces(decode: Decode, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """The text that each of `ids` adds after `before`: [token].

    A character of several tokens is its last one's; the others add nothing.

    >>> pieces(lambda ids: "".join("é-"[i : i + 1] for i in ids), [0, 1])
    ['é', '-']
    """
    context = list(before[-CONTEXT:])
    everything = [*context, *ids]
    found: list[str] = []
    start, done = 0, len(context)  # of the tokens that are decoded together; of those with a text
    for end in range(done + 1, len(everything) + 1):
        known = decode(everything[start:done])
        now = decode(everything[start:end])
        if now.endswith("\N{REPLACEMENT CHARACTER}") and end - done < LONGEST:
            found.append("")
            continue
        found.append(now[len(known) :])
        start, done = max(start, done - CONTEXT), end
    return found


def having(run_folder: Path, text: str) -> NDArray[np.bool_]:
    """Which pairs have `text` in their prompt or an answer, case ignored: [pair]."""
    path = run_folder / "pairs" / "ids.npy"
    try:
        texts = _texts(run_folder, path.stat().st_mtime_ns)
    except OSError as error:
        raise BadRun(f"{path}: cannot be read ({error.strerror})") from error
    wanted = text.casefold()
    return np.array([wanted in found for found in texts], dtype=np.bool_)


@lru_cache(maxsize=4)
def _decoder(path: Path, stamp: int) -> Decode:
    del stamp  # a part of the cache's key
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # what the library raises has no class of its own
        raise BadRun(f"{path}: is no tokenizer: {error}") from error

    def decode(ids: Sequence[int]) -> str:
        return tokenizer.decode(list(ids), skip_special_tokens=False)

    return decode


@lru_cache(maxsize=1)
def _texts(run_folder: Path, stamp: int) -> list[str]:
    """Every pair's text, kept for the next search of the same run: ids do not change."""
    del stamp
    pairs: Pairs | None = load_pairs(run_folder)
    decode = decoder(run_folder)
    return [] if pairs is None else [decode(ids.tolist()).casefold() for ids in pairs.all_tokens()]
