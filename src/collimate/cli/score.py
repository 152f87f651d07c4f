"""`collimate score`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from collimate._checks import BadConfig, BadModel, require_extra
from collimate.cli._config import config_option
from collimate.cli._output import write
from collimate.cli._settings import HELP, check_choices
from collimate.cli.train import PACKAGES


def command(
    model: Annotated[str, typer.Option(metavar="DIR", help="folder, or hub:owner/name")],
    data: Annotated[str, typer.Option(metavar="FILE", help="preference pairs")],
    reference: Annotated[
        str | None, typer.Option(metavar="DIR", help="adds log-ratios: model against reference")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="unset: standard output")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace --out if it is there")] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="add the log-prob of each token")
    ] = False,
    tokenizer: Annotated[str | None, typer.Option(metavar="DIR", help="unset: the model's")] = None,
    max_prompt: Annotated[int | None, typer.Option(help=HELP["max_prompt"])] = None,
    max_answer: Annotated[int | None, typer.Option(help=HELP["max_answer"])] = None,
    truncate_answers: Annotated[
        bool, typer.Option("--truncate-answers", help=HELP["truncate_answers"])
    ] = False,
    on_bad_row: Annotated[
        str, typer.Option(metavar="stop|skip", help="stop at the first bad row, or leave it out")
    ] = "stop",
    limit: Annotated[int | None, typer.Option(help=HELP["limit"])] = None,
    precision: Annotated[str, typer.Option(metavar="fp32|bf16", help=HELP["precision"])] = "fp32",
    device: Annotated[str, typer.Option(metavar="auto|cuda|mps|cpu", help=HELP["device"])] = "auto",
    tokens_per_micro_batch: Annotated[
        int, typer.Option(help=HELP["tokens_per_micro_batch"])
    ] = 1024,
    config: Annotated[Path | None, config_option()] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help=HELP["trust_remote_code"])
    ] = False,
    progress: Annotated[bool, typer.Option(help=HELP["progress"])] = True,
) -> None:
    """Log-probabilities of given answers: one JSON object per row, nats.

    {"row": 0, "chosen": -12.3, "rejected": -15.0, "chosen_tokens": 5, "rejected_tokens": 7}

    chosen and rejected are sums over the answer's tokens, the end of sequence included. With
    --reference: chosen_log_ratio, rejected_log_ratio. With --tokens: chosen_log_probs,
    rejected_log_probs, and those of the reference. Rows that --on-bad-row skip leaves out of
    OUT.jsonl are in OUT.bad_rows.jsonl.
    """
    del config  # its values have become defaults
    bad_rows = None
    if out is not None:
        _require_place(out, force=force)
        bad_rows = out.with_name(f"{out.stem}.bad_rows.jsonl")
    for package in PACKAGES:
        require_extra(package, "train")

    from collimate.jobs.settings import TrainSettings

    # The same names, the same domains, the same messages: checked before anything is loaded.
    check_choices(on_bad_row=on_bad_row, precision=precision, device=device)
    TrainSettings(
        max_prompt=max_prompt,
        max_answer=max_answer,
        limit=limit,
        tokens_per_micro_batch=tokens_per_micro_batch,
    )

    from collimate.engine.run_folder import write_atomically
    from collimate.jobs.score import score

    rows = score(
        model,
        data,
        tokenizer=tokenizer,
        reference=reference,
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        on_bad_row=on_bad_row,
        limit=limit,
        precision=precision,
        device=device,
        tokens_per_micro_batch=tokens_per_micro_batch,
        trust_remote_code=trust_remote_code,
        progress=progress,
        bad_rows=bad_rows,
    )
    text = "\n".join(json.dumps(line(row, tokens=tokens)) for row in rows)
    if out is None:
        write(text)
    else:
        write_atomically(out, (text + "\n").encode())
        write(str(out))


def line(row: Any, *, tokens: bool) -> dict[str, Any]:
    """The JSON object of one scored row. Errors: BadModel if a number in it is not finite."""
    found: dict[str, Any] = {"row": row.row}
    names = ("chosen", "rejected")
    for name, answer in zip(names, row.answers, strict=True):
        found[name] = _total(answer)
    for name, answer in zip(names, row.answers, strict=True):
        found[f"{name}_tokens"] = len(answer)
    for name, answer, other in zip(names, row.answers, row.reference or (), strict=False):
        found[f"{name}_log_ratio"] = _total(answer) - _total(other)
    if tokens:
        for name, answer in zip(names, row.answers, strict=True):
            found[f"{name}_log_probs"] = answer.tolist()
        for name, other in zip(names, row.reference or (), strict=False):
            found[f"{name}_reference_log_probs"] = other.tolist()
    if not all(math.isfinite(value) for value in found.values() if isinstance(value, float)):
        raise BadModel(
            f"row {row.row}: the model gives an answer a log-probability that is not finite, got "
            f"{found}; its weights hold NaN or infinity, or its precision is too low"
        )
    return found


def _total(log_probs: Any) -> float:
    return float(np.sum(log_probs, dtype=np.float64))


def _require_place(out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise BadConfig(f"--out must be a file, but {out} is a folder: name a file in it")
    if out.exists() and not force:
        raise BadConfig(f"{out} exists: name another file, or replace it with --force")
    if not out.parent.is_dir():
        raise BadConfig(f"--out {out}: the folder {out.parent} does not exist; create it first")
