"""What the benchmark prints, from made-up measurements."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def loaded(name: str) -> ModuleType:
    if str(ROOT / "benchmarks") not in sys.path:  # as where the script is run
        sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return loaded("dpo_vs_trl")


def test_the_tables_show_the_committed_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = loaded("table")
    monkeypatch.setattr("sys.argv", ["table.py", "--check"])
    assert table.main() == 0
    monkeypatch.setattr(table, "short", lambda found: "another table")
    assert table.main() == 1
    assert "README.md does not show benchmarks/results" in capsys.readouterr().out


def ours(speed: float, *, cached: float, whole: float, gb: float) -> dict[str, Any]:
    return {
        "pairs_per_s": speed,
        "pairs_per_s_cached_reference": cached,
        "pairs_per_s_with_setup": whole,
        "peak_gb": gb,
        "matmul_gflops": 100.0,
        "matmul_share_train": 0.5,
        "matmul_share_cold": 0.4,
    }


def theirs(speed: float, *, whole: float, gb: float) -> dict[str, Any]:
    return {"pairs_per_s": speed, "pairs_per_s_with_setup": whole, "peak_gb": gb, "loss": 0.69}


def test_ratios_are_taken_within_a_repetition_and_their_median_printed(
    benchmark: ModuleType,
) -> None:
    options = argparse.Namespace(step="dpo", shape="small", pairs=32, repeats=3, threads=2)
    sides = {
        "cold": [ours(6.0, cached=8.0, whole=w, gb=1.0) for w in (4.0, 10.0, 5.0)],
        "warm": [ours(9.0, cached=9.0, whole=6.0, gb=1.0)] * 3,
        "trl": [theirs(2.0, whole=w, gb=4.0) for w in (1.0, 5.0, 2.0)],
        "trl_pre": [theirs(3.0, whole=0.5, gb=4.0)] * 3,
    }
    found = benchmark.figures_of(options, sides)
    assert found["ratio"] == 2.5  # of 4, 2 and 2.5
    assert found["ratio_range"] == [2.0, 4.0]
    assert found["ratio_without_setup"] == 3.0
    assert found["ratio_to_precomputed"] == 10.0  # of 8, 20 and 10
    assert found["ratio_warm"] == 3.0
    assert found["memory_ratio"] == 0.25
    assert found["matmul_share"] == 0.5
    assert found["collimate"]["cold"]["pairs_per_s_with_setup"]["range"] == [4.0, 10.0]
    assert found["trl"]["default"]["loss"]["median"] == 0.69
    json.dumps(found, allow_nan=False)
    agreement = {"log_prob_difference": 1e-6, "gradient_difference": 1e-6}
    table = benchmark.table(found | agreement)
    assert "ratio                      2.500   2.000 to 4.000" in table


def test_positions_say_what_the_prefix_and_the_padding_save(benchmark: ModuleType) -> None:
    counted = benchmark.positions("small", 8)
    assert counted["answers"] < counted["shared"] < counted["separate"] < counted["padded"]
