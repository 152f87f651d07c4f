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
import torch

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


def test_every_benchmark_has_its_table_and_a_missing_one_is_left_out() -> None:
    table = loaded("table")
    ratio = {"ratio": 2.0, "ratio_range": [1.0, 3.0]}
    where = {"machine": {"cores": 2, "memory_gib": 8}, "repeats": 5, "threads": 2}
    where |= {"versions": {"liger": {"liger-kernel": "0.8.5"}}, "command": "the command"}
    gain = {f"gain_of_{name}".replace(" ", "_"): 2.0 for name in (*table.VARIANTS[1:], "all")}
    gain |= {f"{name}_range": [1.0, 3.0] for name in gain}
    variant = {"seconds": {"median": 1.0}, "peak_gb": {"median": 0.5}}
    seconds = {"median": 1.0, "range": [0.5, 1.5]}
    line = {"x": [1, 2], "a": 0.1, "b": 0.2, "residual": 0.034}
    sizes = {"bytes": 3e6, "torch_bytes": 7e8, "packages": 9, "versions": {"torch": "2"}}
    made = {
        "gain_body": where
        | gain
        | {
            "shape": "body",
            "pairs": 8,
            "variants": dict.fromkeys(table.VARIANTS, variant),
            "positions": {"shared": 1, "separate": 2, "padded": 3},
        },
        "head_32k": where
        | {
            "vocabulary": 32000,
            "pairs": 4,
            "tokens": 80,
            "width": 512,
            "liger": {},
            "differences": {"loss": 1e-7},
            **{
                f"{name}_liger{end}": value
                for name in ("speed_over", "memory_over")
                for end, value in (("", 2.0), ("_range", [1.0, 3.0]))
            },
        },
        "growth": where
        | {
            "lines": {"tokens": line},
            "processes": {"seconds": {"1": seconds, "2": seconds}, "examples": 36},
        },
        "start_up": where | {"seconds": {"collimate --help": seconds}},
        "board": where
        | {
            **{"runs": 200, "pairs": 50_000, "tokens": 9, "start": 1.25, "peak_mib": 99},
            "questions": {"list of runs": {"first": 0.5, "again": seconds, "bytes": 4200}},
        },
        "install_size": {"installed": {"collimate": sizes}, "command": "the command"},
    }
    shown, front = table.long(made), table.short(made)
    assert "| prefix | 1.00 | **2.0×** (1.0 to 3.0) | 0.50 |" in shown
    assert "| 32000 | **2.0×** (1.0 to 3.0) | 2.00 (1.00 to 3.00) |" in shown
    assert "| tokens, 1 to 2 | 0.100 s + 0.2 s · x | 3.4 % |" in shown
    assert "| `collimate` | 3 | 700 | 9 |" in shown
    assert "| list of runs | 0.500 | 1.000 (0.500 to 1.500) | 4 |" in shown
    assert "answers in 1.00 s" in front
    assert "`collimate` 3 MB in 9 packages" in front
    assert table.times(ratio, "ratio_warm") == table.NONE
    for name in made:
        rest = table.long({other: one for other, one in made.items() if other != name})
        assert len(rest) < len(shown)
    assert table.long({}) == ""


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


def test_a_step_without_a_reference_has_no_ratio_to_a_cached_one(benchmark: ModuleType) -> None:
    options = argparse.Namespace(step="reward", shape="small", pairs=4, repeats=1, threads=1)
    sides = {
        "cold": [ours(6.0, cached=6.0, whole=4.0, gb=1.0)],
        "trl": [theirs(2.0, whole=1.0, gb=4.0)],
    }
    found = benchmark.figures_of(options, sides)
    assert found["ratio"] == 4.0
    assert found["matmul_share"] == 0.5
    assert not {"ratio_warm", "ratio_to_precomputed", "matmul_share_cold"} & set(found)
    assert "ratio_warm" not in benchmark.table(found)


def test_thumbs_have_no_prefix_to_share_and_rewards_no_vocabulary(benchmark: ModuleType) -> None:
    thumbs = benchmark.positions("small", 8, "kto")
    assert thumbs["shared"] == thumbs["separate"] < thumbs["padded"]
    assert benchmark.positions("small", 8, "reward")["answers"] == 0


def test_adapters_of_another_size_stop_the_comparison(benchmark: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"the adapters differ: 8 .* 16"):
        benchmark.require_same_adapters({"cold": [{"trainable": 8}], "trl": [{"trainable": 16}]})


def test_sides_run_in_turn() -> None:
    order: list[str] = []

    def side(name: str) -> Any:
        return lambda: order.append(name) or {}

    found = loaded("runs").interleaved({name: side(name) for name in "ab"}, 2)
    assert order == ["a", "b", "a", "b"]
    assert found == {"a": [{}, {}], "b": [{}, {}]}


def test_a_line_that_does_not_fit_is_not_ok() -> None:
    growth = loaded("growth")
    straight = growth.fitted({x: [9.0, 1.0 + 2.0 * x, 0.1] for x in (1, 2, 4)})
    assert straight["ok"]
    assert (straight["a"], straight["b"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert not growth.fitted({x: [float(x**3)] for x in (1, 2, 4)})["ok"]


def test_a_gain_is_a_step_over_the_next_within_a_repetition() -> None:
    gain = loaded("gain")
    made = {name: [{"seconds": 2.0**-i}] for i, name in enumerate(gain.VARIANTS)}
    found = gain.gains(made)
    assert found["gain_of_no_padding"] == [2.0]
    assert found["gain_of_all"] == [16.0]


def test_torch_is_weighed_apart(tmp_path: Path) -> None:
    for name, size in (("torch/a.so", 5), ("torch-2.0.dist-info/METADATA", 1), ("peft/b.py", 3)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(b"x" * size)
    found = loaded("install_size").weighed(tmp_path.iterdir())
    assert found == {"bytes": 3, "torch_bytes": 6, "packages": 1}


TINY = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("our_side")  # makes the scripts of both sides importable
    import common
    import our_side

    monkeypatch.setitem(common.SHAPES, "tiny", TINY)
    monkeypatch.setattr(our_side, "matmul_flops", lambda: 1e9)  # seconds of products


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("script", "step"),
    [("our_side", "dpo"), ("our_side", "lora"), ("our_engine", "kto"), ("our_engine", "reward")],
)
def test_our_side_of_each_step_is_the_plain_computation(script: str, step: str) -> None:
    found = loaded(script).check(step, "tiny", 4, 4)
    differences = {name: x for name, x in found.items() if name.endswith("_difference")}
    assert len(differences) == 2
    assert max(differences.values()) < 2e-5


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("step", ["kto", "reward"])
def test_a_step_at_engine_level_trains(step: str) -> None:
    found = loaded("our_engine").train(step, "tiny", 4, 4)
    assert found["loss"] == pytest.approx(0.5 if step == "kto" else 0.69, abs=0.05)
    assert found["pairs_per_s_with_setup"] < found["pairs_per_s"]


@pytest.mark.usefixtures("tiny")
def test_all_variants_of_the_gain_take_the_same_step() -> None:
    gain = loaded("gain")
    norms = [gain.steps_of(variant, "tiny", 4)(4) for variant in gain.VARIANTS]
    assert min(norms) > 0
    assert norms == pytest.approx([norms[0]] * len(norms), rel=1e-4)


def test_our_head_and_the_plain_one_compute_the_same() -> None:
    head = loaded("head")
    sizes = ["--pairs=2", "--tokens=5", "--width=16", "--vocabulary=50"]
    given = head.arguments([*sizes, f"--threads={torch.get_num_threads()}"])
    found = {side: [head.measure(side, given)] for side in ("collimate", "plain")}
    assert max(head.differences(found).values()) < head.AGREE
