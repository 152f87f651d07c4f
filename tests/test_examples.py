"""The examples run, on the real data they name."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_hh_rlhf_from_nothing_to_results(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """At a size that learns little: every step is there, and the record is that of a real run."""
    rows = gzip.decompress(shared_data("hh_harmless_base/test.jsonl.gz").read_bytes()).splitlines()
    some = rows[::4]
    (tmp_path / "some.jsonl.gz").write_bytes(gzip.compress(b"\n".join(some) + b"\n"))
    size = ["--width", "64", "--pretrain-steps", "3", "--epochs", "0.1"]
    command = [
        sys.executable, str(ROOT / "examples" / "hh_rlhf" / "run.py"), *size,
        "--data", str(tmp_path / "some.jsonl.gz"),
        "--out", str(tmp_path / "hh"), "--results", str(tmp_path / "RESULTS.md"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / "hh" / "dpo" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["data"]["train"]["used"] + record["data"]["evaluation"]["used"] == len(some) > 500
    results = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    after = record["evaluation"]["after"]
    low, high = after["reward_accuracy_interval"]
    assert f"{after['reward_accuracy']:.3f} [{low:.3f}, {high:.3f}]" in results
    assert "--width 64" in results
