"""The runs in a folder: found by listing it, read anew only when their files have changed."""

from __future__ import annotations

import json
import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from collimate._checks import CollimateError
from collimate._files import is_inside
from collimate.report import RunRecord, load

MOST_BYTES = 50_000_000  # of a run.json; samples are its largest part, a few kilobytes
TAIL = 16_384  # bytes of metrics.jsonl in which its last training line is looked for

Stamp = tuple[int, int]


def run_folders(root: Path) -> dict[str, Path]:
    """The run folders in `root` by name, in order: folders with a run.json that lie in it.

    Links that lead out of `root` are left out, and so are names that no address can hold.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "one").mkdir()
    >>> _ = (root / "one" / "run.json").write_text("{}")
    >>> list(run_folders(root))
    ['one']
    """
    return {name: root / name for name in sorted(os.listdir(root)) if _is_run(root, name)}


def run_folder(root: Path, name: str) -> Path | None:
    """The run folder of this name, which must be one of `root`'s entries: no name is a path."""
    return root / name if name in os.listdir(root) and _is_run(root, name) else None


def _is_run(root: Path, name: str) -> bool:
    """Whether an entry of `root` is a run folder; what is not UTF-8 is not printable either."""
    path = root / name
    try:
        return (
            not name.startswith(".")
            and name.isprintable()
            and os.path.lexists(path / "run.json")
            and (not path.is_symlink() or is_inside(path, root))
        )
    except (OSError, RuntimeError):  # a link to itself
        return False


def brief(folder: Path) -> dict[str, Any]:
    """A run in one line, from run.json and the end of metrics.jsonl alone.

    A run that cannot be read has `error` and the status "unreadable".
    """
    return _brief(folder, _stamp(folder / "run.json"), _stamp(folder / "metrics.jsonl"))


def record(folder: Path) -> RunRecord:
    """The whole record. Errors: BadRun."""
    return _record(folder, _stamp(folder / "run.json"), _stamp(folder / "metrics.jsonl"))


def planned_steps(run: RunRecord) -> int | None:
    """Steps that the run will take: those taken once it is finished, else as its settings say.

    >>> run = RunRecord(folder=Path("one"), name="one", config={"max_steps": 30})
    >>> planned_steps(run)
    30
    """
    if run.status == "finished":
        return run.steps
    most, epochs, batch = (run.config.get(name) for name in ("max_steps", "epochs", "batch_size"))
    if isinstance(most, int):
        return most
    used = run.train_data.used if run.train_data else None
    if used is None or not isinstance(epochs, int | float) or not isinstance(batch, int):
        return None
    if batch < 1 or not 0 < epochs < 1e9:
        return None
    return max(1, math.ceil(epochs * math.ceil(used / batch)))


@lru_cache(maxsize=4096)
def _brief(folder: Path, run_stamp: Stamp, metrics_stamp: Stamp) -> dict[str, Any]:
    del metrics_stamp  # a part of the cache's key
    name = folder.name
    if run_stamp[1] > MOST_BYTES:
        return {"name": name, "status": "unreadable", "error": f"run.json: {run_stamp[1]} bytes"}
    try:
        run = load(folder, metrics=False)
    except (CollimateError, OSError) as error:
        said = str(error).replace(f"{folder}{os.sep}", "")  # where the list is, is known
        return {"name": name, "status": "unreadable", "error": said}
    except Exception as error:  # noqa: BLE001 - one run's damage must not hide the others
        return {"name": name, "status": "unreadable", "error": f"run.json: {error!r}"}
    last = (
        _last_line(folder / "metrics.jsonl") if is_inside(folder / "metrics.jsonl", folder) else {}
    )
    held = run.after or run.before
    return {
        "name": name,
        "status": run.status,
        "error": run.error,
        "method": run.method.name if run.method else None,
        "model": run.model.path if run.model else None,
        "created": run.created,
        "step": finite(last.get("step", 0 if run.status == "running" else run.steps)),
        "steps": planned_steps(run),
        "loss": finite(last.get("loss")),
        "reward_accuracy": held and finite(held.reward_accuracy),
        "reward_accuracy_interval": held and _interval(held.reward_accuracy_interval),
        "likelihood_accuracy": held and finite(held.likelihood_accuracy),
        "likelihood_accuracy_interval": held and _interval(held.likelihood_accuracy_interval),
    }


@lru_cache(maxsize=8)
def _record(folder: Path, run_stamp: Stamp, metrics_stamp: Stamp) -> RunRecord:
    del run_stamp, metrics_stamp
    return load(folder)


def finite(value: object) -> float | None:
    """A number that JSON can hold, or None.

    >>> finite(1.5), finite(float("nan")), finite("a")
    (1.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _interval(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return bounds if bounds is not None and all(map(math.isfinite, bounds)) else None


def _stamp(path: Path) -> Stamp:
    """Time of the last change (ns) and size (bytes); zeros where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole training line, or nothing."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read(TAIL).splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut off at either end
        if isinstance(found, dict) and "step" in found and "evaluation" not in found:
            return found
    return {}
