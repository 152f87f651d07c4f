"""The trial of the kernels for GPUs, run where they can be computed without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention import flex_attention as flex_module

from collimate._checks import BadRun
from collimate.engine import flex, head, kernels
from collimate.engine.kernels import (
    Timer,
    choose_kernels,
    median_seconds,
    try_attention,
    try_head,
    try_kernels,
)
from collimate.engine.model import Kernels, LogProbModel
from collimate.engine.packing import pack_shared
from collimate.engine.runtime import Runtime
from collimate.engine.trial import Trial, kernels_of, trials_from
from tests.engine.tiny import difference, gradients, model_of, pairs

triton_head = pytest.importorskip(
    "collimate.engine.triton_head", reason="triton is for Linux", exc_type=ImportError
)
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="what a computer without a GPU does")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows for the interpreter; FlexAttention without a compiler, and backward on a CPU."""
    for module in (head, triton_head, kernels):
        monkeypatch.setattr(module, "chunk_rows", lambda vocabulary: 6)
    monkeypatch.setattr(flex_module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex_module, "_validate_device", lambda *_: None)


def engine_of(name: str = "llama", **named: Any) -> LogProbModel:
    return LogProbModel(model_of(name, factor=4.0), shared=True, **named)


def timer(*seconds: float) -> Timer:
    """Says that the passes took so long, one after another."""
    times = list(seconds)
    return lambda work, device: times.pop(0)


FASTER, SLOWER = (1.0, 2.0), (2.0, 1.0)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[..., Any]) -> None:
    sound = getattr(triton_head, name)
    monkeypatch.setattr(triton_head, name, lambda *given: change(sound(*given)))


@on_cpu
def test_without_a_gpu_nothing_is_tried() -> None:
    engine = engine_of()
    runtime = Runtime(device="cpu", precision="fp32")
    assert choose_kernels(engine, longest=40, tokens=100, autocast=runtime.autocast) == {}
    assert kernels_of({}) == Kernels() == engine.kernels
    assert Kernels().suffix == ""


def test_without_kernels_triton_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "collimate.engine.triton_head", None)
    with torch.no_grad():
        engine_of()(pack_shared(pairs(2)))
        with pytest.raises(ImportError):
            engine_of(kernels=Kernels(head=True))(pack_shared(pairs(2)))


@pytest.mark.parametrize("name", ["llama", "llama_tied", "gemma2", "cohere", "phi3"])
def test_the_head_is_equal_on_a_models_own(name: str) -> None:
    found = try_head(engine_of(name), timer=timer(*FASTER))
    assert found.used
    assert found.reason == "equal and faster"
    assert (found.seconds, found.seconds_before) == FASTER
    assert found.log_prob is not None
    assert found.log_prob <= 1e-5
    assert found.gradient is not None
    assert found.gradient <= 1e-5


def test_bf16_under_autocast_is_held_to_its_digits() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = try_head(engine_of(), timer=timer(*FASTER))
    assert found.used
    assert found.gradient_tolerance == 2**-6
    assert found.gradient is not None
    assert 1e-4 < found.gradient <= 2**-6


def test_equal_and_slower_is_left() -> None:
    found = try_head(engine_of(), timer=timer(*SLOWER))
    assert not found.used
    assert found.reason == "equal, but not faster"
    assert (found.seconds, found.seconds_before) == SLOWER


@on_cpu
def test_the_interpreter_is_measured_to_be_slower() -> None:
    found = try_head(engine_of())
    assert not found.used
    assert found.seconds is not None
    assert found.seconds_before is not None
    assert found.seconds > 10 * found.seconds_before > 0


def test_the_median_of_five_is_taken() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), torch.device("cpu")) < 1
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("log_probs", lambda found: (found[0] + 1e-3, *found[1:]), "changes log-probs by 0.001"),
        ("log_probs", lambda found: (found[0] * float("nan"), *found[1:]), "log-probs by nan"),
        ("slope_", lambda slope: slope * 1.01, "changes a gradient by 0.01"),
        ("slope_", lambda slope: slope.requires_grad_() / 0, "changes a gradient by"),
    ],
    ids=["values", "nan", "gradient", "infinite gradient"],
)
def test_a_kernel_that_differs_is_left(
    name: str, change: Callable[..., Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, name, change)
    found = try_head(engine_of(), timer=timer(*FASTER))
    assert not found.used
    assert reason in found.reason
    json.dumps(found.to_json(), allow_nan=False)


def test_a_kernel_that_does_not_compile_is_left_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("ptxas fatal: no such target\nand much more")

    monkeypatch.setattr(triton_head, "log_probs", refuse)
    found = try_head(engine_of(), timer=timer(*FASTER))
    assert found == Trial(
        used=False, reason="does not run here (RuntimeError: ptxas fatal: no such target)"
    )


def test_no_triton_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "collimate.engine.triton_head", None)
    found = try_head(engine_of(), timer=timer(*FASTER))
    assert not found.used
    assert "does not run here (ModuleNotFoundError" in found.reason


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen2_window"])
def test_attention_in_one_call_is_equal_through_a_whole_model(name: str) -> None:
    found = try_attention(engine_of(name), longest=40, tokens=120, timer=timer(*FASTER))
    assert found.used, found
    assert found.log_prob is not None
    assert 0 < found.log_prob <= 1e-5
    assert found.gradient is not None
    assert 0 < found.gradient <= 1e-5


def test_attention_that_sees_siblings_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        flex.FlexRow, "visible", lambda self, window: lambda b, h, query, key: query >= key
    )
    found = try_attention(engine_of(), longest=40, tokens=120, timer=timer(*FASTER))
    assert not found.used
    assert "changes log-probs by" in found.reason
    assert found.log_prob is not None
    assert found.tolerance is not None
    assert found.log_prob > 100 * found.tolerance


def test_a_trial_leaves_the_model_as_it_was() -> None:
    engine = engine_of()
    engine.model.train()
    table: Any = engine.model.get_input_embeddings()
    table.weight.grad = torch.ones_like(table.weight)
    state = torch.get_rng_state()
    found = try_kernels(engine, longest=40, tokens=80, timer=timer(*FASTER, *SLOWER))
    assert kernels_of(found) == Kernels(attention=True)
    assert engine.kernels == Kernels()
    assert engine.model.training
    assert (table.weight.grad == 1).all()
    assert all(p.grad is None for p in engine.model.parameters() if p is not table.weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_padded_rows_have_no_attention_to_try() -> None:
    engine = LogProbModel(model_of("bloom"), shared=False)
    assert try_kernels(engine, longest=40, tokens=80, timer=timer(*FASTER)).keys() == {"head"}


def test_a_model_computes_the_same_with_both() -> None:
    rows = pairs(2)
    found = []
    for used in (Kernels(), Kernels(attention=True, head=True)):
        engine = engine_of("gemma2", kernels=used)
        (values,) = engine(pack_shared(rows))
        values.square().sum().backward()
        found.append((values.detach(), gradients(engine.model)))
    (expected, slopes), (values, others) = found
    assert (values - expected).abs().max() <= 1e-5
    assert difference(others, slopes) <= 1e-5


def test_a_head_without_gradient_is_tried_without() -> None:
    engine = engine_of()
    nn.Module.requires_grad_(engine.model, False)
    found = try_kernels(
        engine, longest=40, tokens=80, gradients="none", timer=timer(*FASTER, *FASTER)
    )
    assert found["attention"].gradient is None
    assert found["head"].gradient is not None  # of hidden states, which an adapter would get
    assert all(trial.used for trial in found.values())


def test_a_run_that_goes_on_keeps_its_kernels() -> None:
    found = {
        "attention": Trial(used=False, reason="equal, but not faster", seconds=2.0),
        "head": Trial(used=True, reason="equal and faster", log_prob=0.0),
    }
    record = json.loads(json.dumps({name: trial.to_json() for name, trial in found.items()}))
    assert trials_from(record) == found
    assert kernels_of(trials_from(record)) == Kernels(head=True)
    assert trials_from(None) == {}


@pytest.mark.parametrize(
    "record", [[], {"head": 1}, {"head": {"used": True}}, {"tail": {"used": True, "reason": ""}}]
)
def test_a_damaged_record_is_refused(record: object) -> None:
    with pytest.raises(BadRun, match="field 'kernels' was damaged"):
        trials_from(record)


_COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from collimate.engine import triton_head

def source(kernel, half, flag):
    constants = {"BIASED": flag, "CAPPED": flag, "BLOCK": triton_head.BLOCK}
    kinds = {"product": "*" + half, "bias": "*" + half, "target": "*i64", "vocabulary": "i32",
             "blocks": "i32", "scale": "fp32", "cap": "fp32", **dict.fromkeys(constants, "constexpr")}
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    at = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    return ASTSource(fn=kernel, signature=signature, constexprs=at)

for kernel in (triton_head._sums, triton_head._slope):
    for half in ("bf16", "fp32"):
        for flag in (False, True):
            done = compile(source(kernel, half, flag), target=GPUTarget("cuda", 90, 32))
            print(len(done.asm["cubin"]))
"""


@pytest.mark.slow
def test_the_kernels_compile_to_machine_code_of_a_hopper_gpu(tmp_path: Path) -> None:
    """Triton's own compiler and assembler need no GPU: what they refuse would be refused there."""
    script = tmp_path / "compile_kernels.py"
    script.write_text(_COMPILE)
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sizes = [int(line) for line in done.stdout.split()]
    assert len(sizes) == 8
    assert min(sizes) > 1000
