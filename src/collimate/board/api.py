"""What each address answers: functions of the runs' folder and the address, to JSON.

A report's tabs and blocks go out as the records they are: one object for each, of its fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from collimate import report
from collimate._checks import BadConfig, CollimateError
from collimate.board import tokens
from collimate.board.pairs import BOUNDED, answer, question, ranges
from collimate.board.runs import brief, finite, record, run_folder, run_folders
from collimate.report import DERIVED, Pairs

Json = dict[str, Any]
MOST_RUNS = 6  # compared at once: as many as there are colours
EXCERPT = 40  # tokens of a prompt that are shown in the list
MOST_TOKENS = 4096  # of each text that are shown of one pair

# A record is the same object until its files change, and its curves take long to thin.
_tabs = lru_cache(maxsize=8)(report.tabs)
_compared = lru_cache(maxsize=4)(report.comparison_tabs)


class NotFound(CollimateError):
    """An address at which there is nothing."""


def runs(root: Path) -> Json:
    """Every run in one line."""
    return {"folder": str(root), "runs": [brief(path) for path in run_folders(root).values()]}


def run(root: Path, name: str) -> Json:
    """One run: its line, what to try next, and the tabs of its report as blocks.

    Errors: NotFound; BadRun where its files cannot be read.
    """
    folder = find(root, name)
    found = record(folder)
    return {
        **brief(folder),
        "seconds": finite(found.seconds),
        "next": report.what_next(found),
        "tabs": _tabs(found),
        "pairs": (folder / "pairs" / "index.json").is_file(),
    }


def compare(root: Path, names: Sequence[str]) -> Json:
    """Several runs side by side. Errors: NotFound; BadConfig for too many; BadRun."""
    names = list(dict.fromkeys(names))
    if not 1 <= len(names) <= MOST_RUNS:
        raise BadConfig(f"expected 1 to {MOST_RUNS} runs to compare, got {len(names)}")
    found = tuple(record(find(root, name)) for name in names)
    return {"runs": names, "blocks": [block for tab in _compared(found) for block in tab.blocks]}


def pairs(root: Path, name: str, given: Mapping[str, str]) -> Json:
    """One page of a run's pairs, sorted and filtered (`pairs.question` names the parameters).

    Errors: NotFound, also where the run has recorded no pairs; BadConfig; BadRun.
    """
    asked = question(given)
    folder = find(root, name)
    recorded = pairs_of(folder, name)
    suspected = report.suspects(folder)
    found = answer(
        recorded,
        asked,
        suspect_rows=frozenset(suspected),
        having=lambda text: tokens.having(folder, text),
    )
    shown = found[asked.offset : asked.offset + asked.limit].tolist()
    known = [name for name in BOUNDED if name in recorded.columns or name in DERIVED]
    columns = {name: recorded.column(name) for name in known}
    return {
        "pairs": len(recorded),
        "left_out": recorded.left_out,
        "found": len(found),
        "offset": asked.offset,
        "limit": asked.limit,
        "ranges": ranges(recorded),
        "suspects": len(suspected),
        "rows": [
            {
                "index": index,
                "prompt": prompt,
                "suspect": suspected.get(_row(recorded, index)),
                **{name: finite(float(values[index])) for name, values in columns.items()},
            }
            for index, prompt in zip(shown, _prompts(folder, recorded, shown), strict=True)
        ],
    }


def pair(root: Path, name: str, index: str) -> Json:
    """One pair: its numbers, and its texts token by token, answers with a value for each token.

    Errors: NotFound, BadRun.
    """
    folder = find(root, name)
    recorded = pairs_of(folder, name)
    if not (index.isascii() and index.isdecimal() and len(index) < 12) or int(index) >= len(
        recorded
    ):
        raise NotFound(f"run {name!r} has the pairs 0 to {len(recorded) - 1}, and no {index!r}")
    at = int(index)
    decode = tokens.decoder(folder)
    prompt, *answers = (ids[:MOST_TOKENS].tolist() for ids in recorded.tokens([at])[0])
    values = [
        np.asarray(found, dtype=np.float64)[:MOST_TOKENS] for found in recorded.log_ratios(at)
    ]
    lengths = recorded.lengths()[at]
    return {
        "index": at,
        "numbers": {
            name: finite(float(recorded.column(name)[at]))
            for name in BOUNDED
            if name in recorded.columns or name in DERIVED
        },
        "suspect": report.suspects(folder).get(_row(recorded, at)),
        "unit": "log-ratio" if record(folder).reference is not None else "log-prob",
        "scale": _scale(np.concatenate(values)),
        "left_out": int(np.maximum(lengths - MOST_TOKENS, 0).sum()),
        "prompt": decode(prompt),
        "answers": [
            {
                "label": label,
                "tokens": tokens.pieces(decode, ids, prompt),
                "values": [finite(value) for value in of.tolist()],
            }
            for label, ids, of in zip(("Chosen", "Rejected"), answers, values, strict=True)
        ],
    }


def find(root: Path, name: str) -> Path:
    """The folder of a run, by its name in the list. Errors: NotFound."""
    found = run_folder(root, name)
    if found is None:
        raise NotFound(f"there is no run {name!r}")
    return found


def pairs_of(folder: Path, name: str) -> Pairs:
    """The recorded pairs of a run. Errors: NotFound where there are none, BadRun."""
    found = report.load_pairs(folder)
    if found is None:
        raise NotFound(f"run {name!r} has recorded no pairs")
    return found


def _row(recorded: Pairs, index: int) -> int:
    row = finite(float(recorded.column("row")[index]))
    return -1 if row is None else int(row)


def _prompts(folder: Path, recorded: Pairs, shown: Sequence[int]) -> list[str]:
    decode = tokens.decoder(folder)
    return [decode(prompt[:EXCERPT].tolist()) for prompt, *_ in recorded.tokens(shown)]


def _scale(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The size at which a token has the strongest colour: exceeded by one in twenty (nats)."""
    known = np.abs(values[np.isfinite(values)])
    return max(0.1, float(np.quantile(known, 0.95))) if len(known) else 1.0
