"""`collimate score`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from collimate._checks import BadConfig, BadModel, require_extra
from collimate._files import write_atomically
from collimate.cli._config import OPTIONS, keys, read_values
from collimate.cli._output import is_main, write
from collimate.cli._settings import flags, require, settings, signature
from collimate.cli.train import PACKAGES
from collimate.jobs.settings import SCORE_SETTINGS, settings_from

_PLACES = ("model", "data", "tokenizer", "reference", "out")
_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    **OPTIONS,
    "reference": (
        str,
        typer.Option("--reference", metavar="DIR", help="adds log-ratios: model against reference"),
    ),
    "out": (str, typer.Option("--out", metavar="FILE.jsonl", help="unset: standard output")),
    "force": (bool, typer.Option("--force", help="replace --out if it is there")),
    "tokens": (bool, typer.Option("--tokens", help="add the log-prob and weight of each token")),
}


def command(**given: Any) -> None:
    """Log-probabilities of given answers: one JSON object per row, nats.

    {"row": 0, "chosen": -12.3, "rejected": -15.0, "chosen_tokens": 5, "rejected_tokens": 7}

    chosen and rejected are sums over the answer's tokens, the end of sequence included; what the
    user says within an answer of several turns does not count. With --reference: chosen_log_ratio,
    rejected_log_ratio. With --tokens: chosen_log_probs, rejected_log_probs, chosen_weights,
    rejected_weights, and the log-probs of the reference. Rows that --on-bad-row skip leaves out of
    OUT.jsonl are in OUT.bad_rows.jsonl.
    """
    own = {**keys("text", *_PLACES), **keys("flag", "force", "tokens")}
    kinds = {**own, **settings(*SCORE_SETTINGS)}
    values = {**read_values(given["config"], kinds), **flags(given, kinds)}
    require("score", values, "model", "data")
    out, force, tokens = (values.pop(name, None) for name in ("out", "force", "tokens"))
    settings_from({name: values[name] for name in SCORE_SETTINGS if name in values})
    if out is not None:
        out = Path(out)
        values["bad_rows"] = out.with_name(f"{out.stem}.bad_rows.jsonl")
        _require_place(out, values["bad_rows"], force=bool(force))
    for package in PACKAGES:
        require_extra(package, "train")

    from collimate.jobs.score import score

    arguments: Any = {"progress": True, **values}
    rows = score(**arguments)
    text = "\n".join(json.dumps(line(row, tokens=bool(tokens))) for row in rows)
    if out is None:
        write(text)
    elif is_main():
        write_atomically(out, (text + "\n").encode())
        write(str(out))


def line(row: Any, *, tokens: bool) -> dict[str, Any]:
    """The JSON object of one scored row. Errors: BadModel if a number in it is not finite."""
    sums = dict(zip(_NAMES, row.sums(row.answers), strict=True))
    found: dict[str, Any] = {"row": row.row, **sums}
    for name, weights in zip(_NAMES, row.weights, strict=True):
        found[f"{name}_tokens"] = int((weights > 0).sum())
    if row.reference is not None:
        for name, other in zip(_NAMES, row.sums(row.reference), strict=True):
            found[f"{name}_log_ratio"] = sums[name] - other
    if tokens:
        columns = {"log_probs": row.answers, "weights": row.weights}
        if row.reference is not None:
            columns["reference_log_probs"] = row.reference
        for what, column in columns.items():
            for name, values in zip(_NAMES, column, strict=True):
                found[f"{name}_{what}"] = values.tolist()
    if not all(math.isfinite(value) for value in found.values() if isinstance(value, float)):
        raise BadModel(
            f"row {row.row}: the model gives an answer a log-probability that is not finite, got "
            f"{found}; its weights hold NaN or infinity, or its precision is too low"
        )
    return found


_NAMES = ("chosen", "rejected")


def _require_place(out: Path, bad_rows: Path, *, force: bool) -> None:
    if out.is_dir():
        raise BadConfig(f"--out must be a file, but {out} is a folder: name a file in it")
    for path in (out, bad_rows):
        if path.exists() and not force:
            raise BadConfig(f"{path} exists: name another file, or replace it with --force")
    if not out.parent.is_dir():
        raise BadConfig(f"--out {out}: the folder {out.parent} does not exist; create it first")


command.__signature__ = signature(  # pyright: ignore[reportFunctionMemberAccess]
    _OPTIONS, *SCORE_SETTINGS
)
