"""`collimate score`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from collimate._checks import BadConfig, nearest, require_extra
from collimate._files import write_atomically
from collimate.cli._config import OPTIONS, keys, read_values
from collimate.cli._output import is_alone, is_main, write
from collimate.cli._settings import flags, require, settings, signature
from collimate.cli.train import PACKAGES
from collimate.engine.cache import default_cache
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
    "fill_cache": (
        bool,
        typer.Option("--fill-cache", help="keep the log-probs for runs with this reference"),
    ),
    "cache": (str, typer.Option("--cache", metavar="DIR", help="that --fill-cache fills")),
    "engine": (
        str,
        typer.Option(
            "--engine", metavar="local|ray", help="ray: data larger than memory [default: local]"
        ),
    ),
    "ray_address": (
        str,
        typer.Option("--ray-address", metavar="HOST:PORT", help="a cluster; unset: this machine"),
    ),
    "workers": (
        str,
        typer.Option("--workers", metavar="INTEGER", help="unset: one per GPU, or per machine"),
    ),
}
_ENGINES = ("local", "ray")


def command(**given: Any) -> None:
    """Log-probabilities of given answers: one JSON object per row, nats.

    {"row": 0, "chosen": -12.3, "rejected": -15.0, "chosen_tokens": 5, "rejected_tokens": 7}

    chosen and rejected are sums over the answer's tokens, the end of sequence included; what the
    user says within an answer of several turns does not count. With --reference: chosen_log_ratio,
    rejected_log_ratio. With --tokens: chosen_log_probs, rejected_log_probs, chosen_weights,
    rejected_weights, and the log-probs of the reference. A labelled answer is called completion, those
    of a list answer_0, answer_1 and so on. Rows that --on-bad-row skip leaves out of
    OUT.jsonl are in OUT.bad_rows.jsonl. With --fill-cache scores are written to --out only.

    --engine ray streams the data, shares it out among --workers on this machine or on the cluster
    at --ray-address, whose machines must be able to read the model by the same path, and goes on
    where it was killed when the same command is given again (docs/scoring.md).
    """
    own = {
        **keys("text", *_PLACES, "cache", "engine", "ray_address"),
        **keys("flag", "force", "tokens", "fill_cache"),
        **keys("whole", "workers"),
    }
    kinds = {**own, **settings(*SCORE_SETTINGS)}
    values = {**read_values(given["config"], kinds), **flags(given, kinds)}
    if given["workers"] is not None:
        values["workers"] = own["workers"].read(given["workers"])
    require("score", values, "model", "data")
    settings_from({name: values[name] for name in SCORE_SETTINGS if name in values})
    _require_sense(values)
    on_ray = values.pop("engine", "local") == "ray"
    out, force = values.pop("out", None), bool(values.pop("force", False))
    if values.pop("fill_cache", False):
        values["cache"] = Path(values.get("cache") or default_cache())
    if out is not None:
        out = Path(out)
        values["bad_rows"] = out.with_name(f"{out.stem}.bad_rows.jsonl")
        _require_place(out, values["bad_rows"], force=force, on_ray=on_ray)
    for package in PACKAGES:
        require_extra(package, "train")
    arguments = {"progress": True, **values}
    if on_ray:
        _score_on_ray({"force": force, **arguments}, out)
    else:
        _score(arguments, out)


def _score(arguments: dict[str, Any], out: Path | None) -> None:
    from collimate.jobs.score import line, score

    tokens = bool(arguments.pop("tokens", False))
    rows = score(**arguments)
    text = "\n".join(json.dumps(line(row, tokens=tokens)) for row in rows)
    if out is None:
        write(str(arguments["cache"]) if "cache" in arguments else text)
    elif is_main():
        write_atomically(out, (text + "\n").encode())
        write(str(out))


def _score_on_ray(arguments: dict[str, Any], out: Path | None) -> None:
    from collimate.jobs.score_on_ray import score_on_ray

    address = arguments.pop("ray_address", None)
    score_on_ray(out=out, address=address, **arguments)
    write(str(out or arguments["cache"]))


def _require_sense(values: Mapping[str, Any]) -> None:
    """Errors: BadConfig for options that mean nothing together."""
    engine = values.get("engine", "local")
    if engine not in _ENGINES:
        raise BadConfig(
            f"--engine must be one of {', '.join(_ENGINES)}, got '{engine}'{nearest(engine, _ENGINES)}"
        )
    if engine == "local":
        for name, flag in (("ray_address", "--ray-address"), ("workers", "--workers")):
            if name in values:
                raise BadConfig(f"{flag} needs --engine ray: add it, or leave {flag} out")
    elif not is_alone():
        raise BadConfig(
            "--engine ray starts its own workers: give the command once, not by torchrun or accelerate"
        )
    if "cache" in values and not values.get("fill_cache"):
        raise BadConfig("--cache names what --fill-cache fills: add it, or leave --cache out")
    if values.get("fill_cache") and values.get("tokens") and "out" not in values:
        raise BadConfig("--tokens adds to --out: name a file, or leave --tokens out")


def _require_place(out: Path, bad_rows: Path, *, force: bool, on_ray: bool) -> None:
    if out.is_dir():
        raise BadConfig(f"--out must be a file, but {out} is a folder: name a file in it")
    for path in (out, bad_rows):
        # A command that was killed at its very end left the bad rows, and its parts.
        ours = on_ray and path == bad_rows and out.with_name(f"{out.name}.parts").exists()
        if path.exists() and not force and not ours:
            raise BadConfig(f"{path} exists: name another file, or replace it with --force")
    if not out.parent.is_dir():
        raise BadConfig(f"--out {out}: the folder {out.parent} does not exist; create it first")


command.__signature__ = signature(  # pyright: ignore[reportFunctionMemberAccess]
    _OPTIONS, *SCORE_SETTINGS
)
