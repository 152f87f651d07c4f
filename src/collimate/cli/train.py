"""`collimate train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from collimate._checks import require_extra
from collimate.cli._config import OPTIONS, PARAMETERS, PLACES, chosen_method, keys, read_config
from collimate.cli._output import write, write_json
from collimate.cli._settings import flags, require, settings, signature

PACKAGES = ("transformers", "tokenizers", "accelerate", "peft", "safetensors", "rich", "psutil")
REPORT_PACKAGES = ("jinja2", "plotly")

_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    **OPTIONS,
    "out": (Path, typer.Option("--out", metavar="DIR", help="run folder; new, unless --resume")),
    "method": (
        str,
        typer.Option("--method", metavar="NAME", help="preset, or FILE.py:NAME [default: dpo]"),
    ),
    **PARAMETERS,
    "evaluation": (str, typer.Option("--evaluation", metavar="FILE", help="held-out pairs")),
    "reference": (
        str,
        typer.Option("--reference", metavar="DIR", help="unset: the model as passed, frozen"),
    ),
    "json": (bool, typer.Option("--json", help="print the result as JSON on standard output")),
}


def command(**given: Any) -> int:
    """Align a causal language model on judged answers, and leave a run folder.

    collimate train --model DIR --data pairs.jsonl --out runs/a --method dpo --beta 0.1

    A config file holds the same names (learning_rate = 1e-5) and a table [method] with name and
    parameters; flags win. Paths in it start at the current directory. --method with another name
    than the file's leaves the file's parameters out.
    """
    config = read_config(given["config"], {**settings(), **keys("text", *PLACES)})
    values = {**config.values, **flags(given, [*PLACES, *settings()])}
    require("train", values, "model", "data", "out")
    for package in PACKAGES:
        require_extra(package, "train")
    if values.get("report", True):
        for package in REPORT_PACKAGES:
            require_extra(package, "report")
    name, parameters = chosen_method(config, given, default="dpo")

    from collimate.cli._method import resolve

    assert name is not None  # there is a default
    method = resolve(name, parameters)  # before the seconds that transformers takes

    from collimate.jobs.settings import settings_from

    chosen = {key: value for key, value in values.items() if key not in PLACES}
    settings_from(chosen)

    from collimate.jobs.train import train

    run = train(method=method, **values)
    if given["json"]:
        write_json(summary(run.folder, run.record))
    else:
        write(str(run.folder))
    return 130 if run.record["status"] == "stopped" else 0


def summary(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What `--json` prints: where the run is, how it ended, what it measured."""
    kept = ("status", "steps", "seconds", "phases", "config", "method", "reference", "evaluation")
    return {
        "folder": str(folder),
        **{name: record[name] for name in kept},
        "data": {
            name: data and {key: data[key] for key in ("file", "rows", "used", "skipped")}
            for name, data in record["data"].items()
        },
    }


command.__signature__ = signature(_OPTIONS)  # pyright: ignore[reportFunctionMemberAccess]
