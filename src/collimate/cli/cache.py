"""`collimate cache ls|gc|verify`."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from collimate._checks import BadConfig, within
from collimate.cli._output import size, table, write, write_json
from collimate.cli._settings import settings
from collimate.engine.cache import CachedModel, cached_models, collect, default_cache, verify

DAMAGED = 1  # exit code

_SHOWN = 12  # digits of a fingerprint
_BOUND = replace(settings("cache_gb")["cache_gb"], name="max_gb")
_DESCRIBED = ("architecture", "layout", "precision", "model")

_Folder = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="unset: $COLLIMATE_CACHE, else ~/.cache/collimate"),
]
_Json = Annotated[bool, typer.Option("--json", help="everything found, as JSON")]

command = typer.Typer(help="The cache of reference log-probs: what is in it, its bound, its check.")


@command.command("ls")
def ls(cache: _Folder = None, json: _Json = False) -> None:
    """List the models whose log-probs are cached, the last used first."""
    root = _root(cache)
    models = cached_models(root)
    total = sum(model.bytes for model in models)
    if json:
        write_json({"cache": str(root), "bytes": total, "models": list(map(_record, models))})
        return
    if models:
        head = ("fingerprint", "answers", "size", "last use (UTC)", *_DESCRIBED)
        write(table([head, *map(_row, models)]))
    write(f"{len(models)} models, {size(total)} in {root}")


@command.command("gc")
def gc(
    cache: _Folder = None,
    max_gb: Annotated[
        str, typer.Option(_BOUND.flag, metavar="NUMBER", help="that may be left; 0 removes all")
    ] = f"{_BOUND.default:g}",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be removed")
    ] = False,
    json: _Json = False,
) -> None:
    """Hold the cache to a size, the models used longest ago first; sweep up after killed writers.

    Training does the same by itself, to its --cache-gb. No run that is going on is harmed: it has
    its log-probs in memory.
    """
    root = _root(cache)
    bound = within(_BOUND.flag, _BOUND.read(max_gb), 0.0, float("inf"))
    found = collect(root, max_bytes=bound * 2**30, dry_run=dry_run)
    if json:
        removed = list(map(str, found.removed))
        write_json({"cache": str(root), "dry_run": dry_run, **asdict(found), "removed": removed})
        return
    verb = "would remove" if dry_run else "removed"
    write(
        f"{verb} {len(found.removed)} files, {size(found.freed)}; {size(found.left)} left in {root}"
    )


@command.command("verify")
def check(
    cache: _Folder = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="remove the damaged segments; no run reads them")
    ] = False,
    json: _Json = False,
) -> int:
    """Read every segment and compare it with its hash. Exit code 1 if any is damaged.

    Leftovers are partial files of writers at work, or killed; `collimate cache gc` removes old ones.
    """
    root = _root(cache)
    found = verify(root)
    if delete:
        for path in found.damaged:
            path.unlink(missing_ok=True)
    if json:
        paths = {"unknown": found.unknown, "leftovers": found.leftovers}
        write_json(
            {
                "cache": str(root),
                "ok": not found.damaged,
                **asdict(found),
                "damaged": {str(path): reason for path, reason in found.damaged.items()},
                **{name: list(map(str, listed)) for name, listed in paths.items()},
                "deleted": delete,
            }
        )
    else:
        lines = [f"{path}: {reason}" for path, reason in found.damaged.items()]
        lines += [f"{path}: of another schema version, left alone" for path in found.unknown]
        lines += [f"{path}: a leftover" for path in found.leftovers]
        removed = ", removed" if found.damaged and delete else ""
        summary = f"{found.segments} segments read, {size(found.bytes)} in {root}"
        write("\n".join([*lines, f"{summary}: {len(found.damaged)} damaged{removed}"]))
    return DAMAGED if found.damaged else 0


def _root(cache: Path | None) -> Path:
    if cache is not None and not cache.is_dir():
        raise BadConfig(
            f"--cache {cache}: there is no such folder; check the path, or leave --cache out for "
            f"{default_cache()}"
        )
    return default_cache() if cache is None else cache


def _row(model: CachedModel) -> tuple[str, ...]:
    return (
        model.fingerprint[:_SHOWN],
        str(model.rows),
        size(model.bytes),
        _time(model)[:16].replace("T", " "),
        *(model.description.get(name, "?") for name in _DESCRIBED),
    )


def _record(model: CachedModel) -> dict[str, Any]:
    described = {name: model.description.get(name) for name in _DESCRIBED}
    numbers = asdict(model)
    del numbers["description"]
    return {**numbers, "last_use": _time(model), **described}


def _time(model: CachedModel) -> str:
    return datetime.fromtimestamp(model.last_use, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
