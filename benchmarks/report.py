"""How large the page of several runs is, and how long Chromium takes to open it.

.venv/bin/python benchmarks/report.py --json

Needs the extras of development (playwright) and a Chromium on the path.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from runs import ROOT, Figures, at_least_one, middle, parser_of, provenance

sys.path.insert(0, str(ROOT / "src"))

OPENED = "!document.querySelector('.shown .chart:not(:has(.main-svg))')"
NAMES = ("dpo", "ipo", "simpo")


def make_run(folder: Path, *, steps: int, seed: int) -> Path:
    """A run folder of invented, noisy figures."""
    folder.mkdir()
    noise = random.Random(seed)
    figures = {
        "rows": 1000, "loss": 0.6, "reward_accuracy": 0.62, "likelihood_accuracy": 0.57,
        "reward_accuracy_interval": [0.59, 0.65], "likelihood_accuracy_interval": [0.54, 0.6],
        "log_ratio_chosen": -3.0, "log_ratio_rejected": -7.0,
        "log_prob_chosen": -140.0, "log_prob_rejected": -150.0,
    }  # fmt: skip
    run = {
        "schema_version": 1, "status": "finished", "name": folder.name, "steps": steps,
        "seconds": 500.0, "seed": seed, "config": {"learning_rate": 1e-5 * (1 + seed)},
        "evaluation": {"before": figures, "after": figures},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            done = step / steps
            line = {
                "step": step,
                "loss": math.log(2) - 0.1 * done + noise.gauss(0, 0.03),
                "reward_accuracy": 0.5 + 0.1 * done + noise.gauss(0, 0.1),
                "likelihood_accuracy": 0.5 + 0.05 * done + noise.gauss(0, 0.1),
                "log_ratio_chosen": -3 * done + noise.gauss(0, 1),
                "log_ratio_rejected": -7 * done + noise.gauss(0, 1),
            }
            file.write(json.dumps(line) + "\n")
    return folder


def opened(browser: Any, page: Path) -> Figures:
    """Seconds to open the page.

    open: until it is loaded, its texts, first intervals and tabs at work. curves: from then, by a click
    on the next tab, until its charts stand.
    """
    context = browser.new_context()
    tab = context.new_page()
    start = time.perf_counter()
    tab.goto(page.as_uri())
    loaded = time.perf_counter()
    tab.get_by_role("tab", name="Curves").click()
    tab.wait_for_function(OPENED)
    end = time.perf_counter()
    context.close()
    return {"open": loaded - start, "curves": end - loaded}


def main() -> None:
    """Measure and print."""
    parser = parser_of("report", __doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs on the page (default: 3)")
    parser.add_argument("--steps", type=int, default=2000, help="of each run (default: 2000)")
    given = parser.parse_args()
    at_least_one(parser, given, "repeats", "runs", "steps")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        parser.error("there is no Chromium on the path (Debian: apt-get install chromium)")
    load = os.getloadavg()[0]

    from playwright.sync_api import sync_playwright

    from collimate.report import write_comparison

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folders = [
            make_run(Path(place) / f"{NAMES[n % 3]}-{n}", steps=given.steps, seed=n)
            for n in range(given.runs)
        ]
        start = time.perf_counter()
        page = write_comparison(folders, Path(place) / "comparison.html")
        written, size = time.perf_counter() - start, page.stat().st_size
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--headless", "--disable-gpu"]
        )
        opened(browser, page)  # the browser's own start
        found = [opened(browser, page) for _ in range(given.repeats)]
        browser.close()
    result = {
        "benchmark": "report",
        "runs": given.runs,
        "steps": given.steps,
        "repeats": given.repeats,
        "megabytes": size / 1e6,
        "seconds_to_write": written,
        "seconds_to_open": middle([run["open"] for run in found]),
        "seconds_to_show_curves": middle([run["curves"] for run in found]),
        **provenance(load),
        "command": f"benchmarks/report.py --runs {given.runs} --steps {given.steps} "
        f"--repeats {given.repeats} --json",
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"{result['megabytes']:.2f} MB, written in {written:.2f} s")
    print(f"opened in {result['seconds_to_open']['median']:.2f} s")
    print(f"curves shown in {result['seconds_to_show_curves']['median']:.2f} s")


if __name__ == "__main__":
    main()
