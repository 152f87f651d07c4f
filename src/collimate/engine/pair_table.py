"""What a run knows of each of its pairs, on disk and up to date: `pairs/` of docs/run-folder.md."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from collimate._checks import BadRun
from collimate._files import write_atomically
from collimate._types import Example
from collimate.engine.run_folder import writing

SCHEMA_VERSION = 1
MEASURED = (
    "step",
    "loss",
    "margin",
    "log_ratio_chosen",
    "log_ratio_rejected",
    "log_prob_chosen",
    "log_prob_rejected",
    "ches",
    "ches_length_normalised",
)
"""Columns that every step replaces."""
FIRST = ("start_log_prob_chosen", "start_log_prob_rejected")
"""Columns that keep their first value."""
COLUMNS = ("row", *MEASURED, *FIRST, "prompt_tokens", "chosen_tokens", "rejected_tokens")


class PairTable:
    """The folder `pairs/`: each pair's figures and per-token values of the last step that took it.

    Values are replaced in place, pair by pair: a reader may see the pairs of two moments, and a
    resumed run writes again what a lost step had written. examples: those of the run, the first two
    answers of each being chosen and rejected; the first `limit` of them are kept.
    """

    def __init__(self, folder: Path, examples: Sequence[Example], *, limit: int) -> None:
        self.folder = folder
        self.examples = examples[:limit]
        lengths = np.array(
            [[len(e.prompt), *(len(a.ids) for a in e.answers[:2])] for e in self.examples]
        )
        self.starts = np.concatenate([[0], lengths[:, 1:].sum(1).cumsum()])  # in answer tokens
        self.table = np.full((len(lengths), len(COLUMNS)), np.nan, dtype="<f8")
        self.table[:, 0] = [example.row for example in self.examples]
        self.table[:, -3:] = lengths
        self.index = {
            "schema_version": SCHEMA_VERSION,
            "pairs": len(lengths),
            "left_out": len(examples) - len(lengths),
            "columns": list(COLUMNS),
        }

    def begin(self) -> None:
        """Write the folder as it is before the first step, or go on with what is there.

        Errors: BadRun if it cannot be written, was damaged, or is another run's.
        """
        if (self.folder / "index.json").exists():
            self.table = self._read()
            return
        ids = [np.concatenate([e.prompt, *(a.ids for a in e.answers[:2])]) for e in self.examples]
        unknown = np.full(self.starts[-1], np.nan, dtype="<f4")
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            write_atomically(self.folder / "ids.npy", _npy(np.concatenate(ids).astype("<u4")))
            write_atomically(self.folder / "log_ratios.npy", _npy(unknown))
            write_atomically(self.folder / "table.npy", _npy(self.table))
            write_atomically(self.folder / "index.json", json.dumps(self.index).encode())

    def _read(self) -> Float[np.ndarray, "pair column"]:
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            table = np.load(self.folder / "table.npy", allow_pickle=False)
            tokens = np.load(self.folder / "log_ratios.npy", allow_pickle=False, mmap_mode="r")
            whole = index == self.index and table.shape == self.table.shape
            if whole and tokens.shape == (self.starts[-1],):
                return table
            reason = "it holds other pairs"
        except (EOFError, OSError, ValueError) as error:
            reason = str(error)
        raise BadRun(
            f"{self.folder} cannot be gone on with ({reason}): restore it, resume with the "
            "recorded_pairs that the run began with, or remove the folder, and later steps fill a new one"
        )

    def update(
        self,
        examples: Int[np.ndarray, " pair"],
        figures: Mapping[str, Float[np.ndarray, " pair"]],
        tokens: Sequence[Float[np.ndarray, " _"]],
    ) -> None:
        """Put in what a step saw of these examples, by number; those beyond the limit are left out.

        figures: of the columns `MEASURED` and `FIRST`; one that is missing is NaN. tokens: of each
        pair, log-ratios (or log-probs) of the chosen answer's tokens and then the rejected one's.
        Errors: BadRun if they cannot be written.
        """
        kept = np.flatnonzero(examples < len(self.table))
        pairs = examples[kept]
        missing = np.full(len(examples), np.nan)
        for name in (*MEASURED, *FIRST):
            column, values = COLUMNS.index(name), figures.get(name, missing)[kept]
            if name in FIRST:
                before = self.table[pairs, column]
                values = np.where(np.isnan(before), values, before)
            self.table[pairs, column] = values
        with writing(self.folder):
            _put(self.folder / "table.npy", pairs, self.table[pairs])
            _put(
                self.folder / "log_ratios.npy",
                self.starts[pairs],
                [tokens[k] for k in kept.tolist()],
            )


def _npy(array: np.ndarray) -> tuple[bytes, bytes]:
    """A .npy file in pieces."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    return head.getvalue(), array.tobytes()


def _put(
    path: Path, lines: Int[np.ndarray, " line"], values: Sequence[np.ndarray] | np.ndarray
) -> None:
    """Replace lines of a .npy file where they stand: `values[k]` from line `lines[k]` on.

    Not through a memory map: on a full disk that would be a signal, and no error to tell.
    """
    there = np.load(path, allow_pickle=False, mmap_mode="r")
    width = there.strides[0]
    with path.open("r+b", buffering=0) as file:
        for line, found in zip(lines, values, strict=True):
            data = found.astype(there.dtype).tobytes()
            os.pwrite(file.fileno(), data, there.offset + int(line) * width)
