"""How long the command line takes to answer: best and median of repeated cold starts, as JSON.

python benchmarks/start_up.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

COMMANDS = (("--help",), ("methods", "--json"))
REPEATS = 5


def seconds(*arguments: str) -> float:
    """Wall-clock seconds of one cold start."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "collimate", *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main() -> None:
    """Print one line per command."""
    for arguments in COMMANDS:
        times = [seconds(*arguments) for _ in range(REPEATS)]
        print(
            json.dumps(
                {
                    "command": " ".join(("collimate", *arguments)),
                    "best": round(min(times), 3),
                    "median": round(statistics.median(times), 3),
                    "repeats": REPEATS,
                }
            )
        )


if __name__ == "__main__":
    main()
