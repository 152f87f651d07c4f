"""The pairs of a run: what each came to at the last step that took it (docs/run-folder.md).

Every read is a copy: the table is written in place while the run goes on, and a file that shrinks
under a memory map would end the reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError  # of numpy's reader of headers
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from collimate._checks import BadRun
from collimate._files import is_inside
from collimate.report._fields import WAY_OUT, Fields, shown

VERSION = 1
MOST_PAIRS, MOST_COLUMNS = 1_000_000, 100  # what is beyond them is damage, not a run

DERIVED: Mapping[str, tuple[str, str, int]] = {
    "displacement": ("log_prob_chosen", "start_log_prob_chosen", -1),
    "gap": ("log_ratio_chosen", "log_ratio_rejected", -1),
    "length": ("chosen_tokens", "rejected_tokens", 1),
}
"""Name -> (column, other column, its sign)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The pairs of one run at one moment.

    table: [pair, column], float64, NaN where not known yet. left_out: pairs that were not recorded.
    columns: their names, as docs/run-folder.md explains them.
    """

    folder: Path
    columns: tuple[str, ...]
    table: NDArray[np.float64]
    left_out: int = 0

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.table)

    def column(self, name: str) -> NDArray[np.float64]:
        """A column [pair]; NaN for one that this run does not have.

        Also derived ones: displacement (change of the chosen answer's log-prob since the start, nats),
        gap of log-ratios (chosen less rejected, nats) and length (tokens of both answers).

        >>> table = np.array([[-2.0, -5.0]])
        >>> names = ("log_ratio_chosen", "log_ratio_rejected")
        >>> pairs = Pairs(folder=Path("run"), columns=names, table=table)
        >>> float(pairs.column("gap")[0])
        3.0
        """
        if name in DERIVED and name not in self.columns:
            first, second, sign = DERIVED[name]
            return self.column(first) + sign * self.column(second)
        if name not in self.columns:
            return np.full(len(self), np.nan)
        return self.table[:, self.columns.index(name)]

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of prompt, chosen and rejected answer: [pair, 3].

        Errors: BadRun where one is no whole number of at least 0.
        """
        names = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
        found = np.stack([self.column(name) for name in names], axis=1)
        good = np.isfinite(found) & (found >= 0) & (found < 2**31) & (found == np.floor(found))
        if not good.all():
            pair = int(np.flatnonzero(~good.all(axis=1))[0])
            raise BadRun(
                f"{self.folder / 'table.npy'}: {', '.join(names)} of pair {pair} must be whole "
                f"numbers, got {found[pair].tolist()}; {WAY_OUT}"
            )
        return found.astype(np.int64)

    def tokens(self, pairs: Sequence[int]) -> list[tuple[NDArray[np.uint32], ...]]:
        """Token ids of prompt, chosen and rejected answer, each [token], of each of `pairs`.

        Errors: BadRun where the file is missing, damaged or of another length.
        """
        lengths = self.lengths()
        totals = lengths.sum(axis=1)
        path, dtype = self.folder / "ids.npy", np.dtype(np.uint32)
        return [
            tuple(np.split(_slice(path, dtype, totals, pair), lengths[pair].cumsum()[:-1]))
            for pair in pairs
        ]

    def log_ratios(self, pair: int) -> tuple[NDArray[np.float32], ...]:
        """Per-token log-ratios of a pair's chosen and rejected answer (nats), each [token].

        Log-probs of the policy where the method has no reference; NaN before the first step that
        took the pair. Errors: as `tokens`.
        """
        lengths = self.lengths()[:, 1:]
        path = self.folder / "log_ratios.npy"
        found = _slice(path, np.dtype(np.float32), lengths.sum(axis=1), pair)
        return tuple(np.split(found, lengths[pair].cumsum()[:-1]))

    def all_tokens(self) -> tuple[NDArray[np.uint32], ...]:
        """Token ids of prompt and answers of every pair, in order."""
        lengths = self.lengths().sum(axis=1)
        path = self.folder / "ids.npy"
        ids = _read(path, np.dtype(np.uint32), (int(lengths.sum()),), 0, int(lengths.sum()))
        return tuple(np.split(ids, lengths.cumsum()[:-1]))


def load_pairs(run_folder: str | Path) -> Pairs | None:
    """The pairs of a run as they are now, or None where the run has recorded none.

    Errors: BadRun where a file is missing, damaged, or a link out of the run folder.
    """
    run, folder = Path(run_folder), Path(run_folder) / "pairs"
    path = folder / "index.json"
    if not path.exists() or not (folder / "table.npy").exists():
        return None
    names = ("index.json", "table.npy", "log_ratios.npy", "ids.npy")
    if not all(is_inside(folder / name, run) for name in names):
        raise BadRun(f"{folder} has a link out of the run folder: put the files themselves there")
    fields = Fields(where=str(path), path="", values=_object(path))
    if fields.integer("schema_version") != VERSION:
        fields.fail("schema_version", str(VERSION), fields.values.get("schema_version"))
    count, columns = fields.integer("pairs"), fields.texts("columns")
    if count is None or not 0 <= count <= MOST_PAIRS:
        fields.fail("pairs", f"a whole number from 0 to {MOST_PAIRS}", fields.values.get("pairs"))
    if len(set(columns)) != len(columns) or not 0 < len(columns) <= MOST_COLUMNS:
        fields.fail("columns", f"1 to {MOST_COLUMNS} different names", list(columns))
    shape = (count, len(columns))
    table = _read(folder / "table.npy", np.dtype(np.float64), shape, 0, count)
    left_out = fields.integer("left_out") or 0
    return Pairs(folder=folder, columns=columns, table=table, left_out=left_out)


def suspects(run_folder: str | Path) -> dict[int, str]:
    """Row of the data file -> why it is suspected of displacement; empty where no alarm rang.

    A line that is incomplete or damaged is left out.
    """
    run = Path(run_folder)
    path, found = run / "suspect_rows.jsonl", dict[int, str]()
    if not path.is_file() or not is_inside(path, run):
        return found
    for line in path.read_bytes().splitlines():
        try:
            values = json.loads(line)
            found[int(values["row"])] = str(values.get("reason", ""))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
    return found


def _slice(path: Path, dtype: np.dtype[Any], lengths: NDArray[np.int64], pair: int) -> Any:
    """The entries of one pair of a file that holds those of all, one after the other."""
    start = int(lengths[:pair].sum())
    return _read(path, dtype, (int(lengths.sum()),), start, start + int(lengths[pair]))


def _read(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], start: int, end: int) -> Any:
    """Lines start to end of an .npy file that must have this dtype and shape, as a copy."""
    bytes_per_line = math.prod(shape[1:]) * dtype.itemsize
    try:
        with path.open("rb") as file:
            found = _header(file)
            if found != (shape, False, dtype):
                raise BadRun(
                    f"{path}: must hold {dtype} {list(shape)} in C order, got {found[2]} "
                    f"{list(found[0])}; {WAY_OUT}"
                )
            first = file.tell() + start * bytes_per_line
            if path.stat().st_size < first + (end - start) * bytes_per_line:
                raise BadRun(f"{path}: ends too early; {WAY_OUT}")
            file.seek(first)
            content = file.read((end - start) * bytes_per_line)
    except OSError as error:
        raise BadRun(f"{path}: cannot be read ({error.strerror}); {WAY_OUT}") from error
    except (ValueError, SyntaxError, TypeError, TokenError) as error:
        raise BadRun(f"{path}: is no .npy file ({error}); {WAY_OUT}") from error
    return np.frombuffer(content, dtype).reshape(end - start, *shape[1:])


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"format {version} of it is not known")
    return read(file)


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRun(f"{path}: must be JSON, but {error}; {WAY_OUT}") from error
    if not isinstance(value, dict):
        raise BadRun(f"{path}: must be a JSON object {{...}}, got {shown(value)}; {WAY_OUT}")
    return cast("dict[str, Any]", value)
