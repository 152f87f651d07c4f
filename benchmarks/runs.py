"""What every benchmark here does the same: fresh processes, medians with ranges, where and of what.

Nothing heavy is imported: the parent of a measurement stays small, and so does its start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGES = ("torch", "transformers", "accelerate", "datasets")

Figures = dict[str, Any]
"""What a child printed: names and numbers."""


def parser_of(name: str, doc: str | None) -> argparse.ArgumentParser:
    """A command line with what all share: --repeats, --threads, --json."""
    parser = argparse.ArgumentParser(
        prog=f"benchmarks/{name}.py", description=(doc or "").partition("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="of each process (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    return parser


def at_least_one(parser: argparse.ArgumentParser, given: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1."""
    if min(getattr(given, name) for name in names) < 1:
        parser.error(f"{', '.join(f'--{name}' for name in names)} must be at least 1")


def environment(python: str, threads: int) -> dict[str, str]:
    """A child's: so many threads, and Collimate from this tree where it is ours."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    kept |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # What is measured is the commit that is named, whatever is installed.
    return kept | ({"PYTHONPATH": str(ROOT / "src")} if python == sys.executable else {})


def child(python: str, threads: int, *command: str) -> Figures:
    """The JSON line that a fresh process prints last."""
    done = subprocess.run(
        [python, *command], capture_output=True, text=True, env=environment(python, threads)
    )
    if done.returncode:
        what = " ".join(Path(part).name if part.endswith(".py") else part for part in command)
        raise SystemExit(f"{what} failed with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {figures.get('side', 'check')}: {figures}", file=sys.stderr)
    return figures


def interleaved(
    sides: Mapping[str, Callable[[], Figures]], repeats: int
) -> dict[str, list[Figures]]:
    """Every side once per repetition, in turn: what slows the machine slows all of them."""
    found: dict[str, list[Figures]] = {name: [] for name in sides}
    for repeat in range(repeats):
        print(f"repetition {repeat + 1} of {repeats}", file=sys.stderr)
        for name, run in sides.items():
            found[name].append(run())
    return found


def quotients(a: Sequence[Figures], x: str, b: Sequence[Figures], y: str) -> list[float]:
    """a[x] / b[y] of each repetition."""
    return [one[x] / other[y] for one, other in zip(a, b, strict=True)]


def middle(values: Sequence[float]) -> Figures:
    """Median and range."""
    return {"median": median(values), "range": [min(values), max(values)]}


def spread(runs: Sequence[Figures], names: Sequence[str]) -> Figures:
    """Median and range of each figure that the runs have."""
    return {name: middle([run[name] for run in runs]) for name in names if name in runs[0]}


def ratios_of(values: Mapping[str, Sequence[float]]) -> Figures:
    """Each ratio's median under its name, its range under `NAME_range`."""
    result: Figures = {}
    for name, found in values.items():
        result |= {name: median(found), f"{name}_range": [min(found), max(found)]}
    return result


def provenance(load: float) -> Figures:
    """Versions of our side, machine and commit; load: of the minute before the start."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "versions": {"collimate": ours_versions()},
        "machine": {
            "cores": os.cpu_count(),
            "memory_gib": round(memory),
            "load_before": round(load, 2),
        },
        "commit": commit(),
    }


def ours_versions() -> dict[str, str]:
    """Versions of our side."""
    return {"python": sys.version.split()[0]} | {
        name: metadata.version(name) for name in ("collimate", *PACKAGES)
    }


def versions_of(python: str, names: Sequence[str]) -> dict[str, str]:
    """Versions in another environment."""
    code = (
        "import json, sys\nfrom importlib.metadata import version\n"
        f"found = {{name: version(name) for name in {tuple(names)!r}}}\n"
        "print(json.dumps({'python': sys.version.split()[0]} | found))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python} lacks one of {', '.join(names)}:\n{done.stderr[-2000:]}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def commit() -> str | None:
    """What was measured, where git knows it. Exits where it changed meanwhile."""
    now = _described()
    if now != _BEGUN:
        raise SystemExit(f"the tree was {_BEGUN} at the start and is {now}: measure again")
    return now


def _described() -> str | None:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True
    )
    return done.stdout.strip() or None


_BEGUN = _described()


def status(field: str) -> int:
    """A size in /proc/self/status, in KiB. Errors: RuntimeError where there is none (not Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise RuntimeError(f"no {field} in /proc/self/status; the memory figures need Linux")
