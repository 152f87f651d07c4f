"""How long the command line takes to answer: repeated cold starts, in turn.

.venv/bin/python benchmarks/start_up.py --json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from runs import (
    Figures,
    at_least_one,
    environment,
    interleaved,
    middle,
    parser_of,
    provenance,
)

# The last two are what no start can be quicker than: Python itself, and Python with torch.
COMMANDS = {
    "collimate --help": ("-m", "collimate", "--help"),
    "collimate methods --json": ("-m", "collimate", "methods", "--json"),
    "python -c pass": ("-c", "pass"),
    'python -c "import torch"': ("-c", "import torch"),
}


def seconds(threads: int, command: Sequence[str]) -> Figures:
    """Wall-clock seconds of one cold start."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment(sys.executable, threads),
    )
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Measure and print."""
    parser = parser_of("start_up", __doc__)
    given = parser.parse_args()
    at_least_one(parser, given, "repeats", "threads")
    load = os.getloadavg()[0]
    sides = {name: partial(seconds, given.threads, command) for name, command in COMMANDS.items()}
    interleaved(sides, 1)  # files into the system's cache, bytecode onto the disk
    found = interleaved(sides, given.repeats)
    known = {name: middle([run["seconds"] for run in runs]) for name, runs in found.items()}
    result = {
        "benchmark": "start_up",
        "repeats": given.repeats,
        "threads": given.threads,
        "seconds": known,
        **provenance(load),
        "command": f"benchmarks/start_up.py --repeats {given.repeats} --threads {given.threads} "
        "--json",
    }
    if given.json:
        print(json.dumps(result))
        return
    for name, figures in known.items():
        print(f"{name:26} {figures['median']:.3f} s")


if __name__ == "__main__":
    main()
