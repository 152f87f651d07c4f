"""How long the board takes to answer: a folder of 200 runs, and a run with 50 000 pairs.

.venv/bin/python benchmarks/board.py --json
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from runs import ROOT, Figures, at_least_one, environment, middle, parser_of, provenance

sys.path.insert(0, str(ROOT))
from tests.board.folders import made_up, make_pairs
from tests.report.example_run import make_run

BASE = "/api/runs/run-000"
QUESTIONS = {
    "list of runs": "/api/runs",
    "page of a run, 2000 steps": BASE,
    "comparison of 6 runs": "/api/compare?" + "&".join(f"run=run-{i:03}" for i in range(6)),
    "pairs, first page": f"{BASE}/pairs",
    "pairs, sorted": f"{BASE}/pairs?sort=ches&descending=1",
    "pairs, sorted and filtered": f"{BASE}/pairs?sort=displacement&min_margin=0&max_length=60",
    "pairs, last page": f"{BASE}/pairs?sort=loss&offset=49950",
    "one pair": f"{BASE}/pairs/49999",
    "text search": f"{BASE}/pairs?text=window",
}


def fill(root: Path, count: int, pairs: int) -> None:
    """So many runs of 2000 logged steps, the first with pairs."""
    first = make_run(root / "run-000", steps=2000)
    make_pairs(first, made_up(pairs))
    for number in range(1, count):
        folder = root / f"run-{number:03}"
        folder.mkdir()
        for name in ("run.json", "metrics.jsonl"):
            (folder / name).write_bytes((first / name).read_bytes())


def measured(root: Path, threads: int, repeats: int) -> Figures:
    """Seconds of each question: the first time, as users wait for it, and again (median, range)."""
    command = [sys.executable, "-m", "collimate", "board", str(root), "--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(sys.executable, threads)
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        start = time.perf_counter() - began
        place = urlsplit(re.findall(r"http://\S+", line)[0])
        assert place.hostname is not None
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        found: Figures = {}
        for name, address in QUESTIONS.items():
            times, size = [], 0
            for _ in range(repeats + 1):
                asked = time.perf_counter()
                connection.request("GET", address)
                answer = connection.getresponse()
                size = len(answer.read())
                times.append(time.perf_counter() - asked)
                if answer.status != 200:
                    raise SystemExit(f"{address}: {answer.status}")
            found[name] = {"first": times[0], "again": middle(times[1:]), "bytes": size}
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        (peak,) = re.findall(r"VmHWM:\s+(\d+)", status)
        return {"start": start, "peak_mib": int(peak) // 1024, "questions": found}
    finally:
        process.terminate()
        process.communicate()


def main() -> None:
    """Measure and print."""
    parser: argparse.ArgumentParser = parser_of("board", __doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs in the folder (default: 200)")
    parser.add_argument("--pairs", type=int, default=50_000, help="pairs (default: 50000)")
    given = parser.parse_args()
    at_least_one(parser, given, "repeats", "threads", "runs", "pairs")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), given.runs, given.pairs)
        tokens = int(np.load(Path(folder) / "run-000" / "pairs" / "ids.npy", mmap_mode="r").size)
        found = measured(Path(folder), given.threads, given.repeats)
    result = {
        "benchmark": "board",
        "runs": given.runs,
        "pairs": given.pairs,
        "tokens": tokens,
        "repeats": given.repeats,
        "threads": given.threads,
        **found,
        **provenance(load),
        "command": f"benchmarks/board.py --runs {given.runs} --pairs {given.pairs} "
        f"--repeats {given.repeats} --threads {given.threads} --json",
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"start {found['start']:.2f} s, peak {found['peak_mib']} MiB")
    for name, figures in found["questions"].items():
        again, size = figures["again"]["median"], figures["bytes"]
        print(f"{name:28} first {figures['first']:.3f} s, again {again:.3f} s, {size:,} bytes")


if __name__ == "__main__":
    main()
