"""A whole run on the kernels for GPUs, computed without one: recorded, resumed, and the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import flex_attention as flex_module

from collimate.engine import head, kernels
from collimate.engine.kernels import try_kernels
from collimate.engine.trial import Name, Trial, kernels_on
from collimate.jobs import prepare
from tests.equivalence.runs import metrics_of, record_of, text_pairs, train
from tests.equivalence.test_resume import interrupted_at

triton_head = pytest.importorskip(
    "collimate.engine.triton_head", reason="triton is for Linux", exc_type=ImportError
)
ROWS = text_pairs(6)
SMALL: dict[str, Any] = {"data": ROWS, "batch_size": 3, "learning_rate": 1e-5}


def tried(engine: Any, *, autocast: Any, **named: Any) -> dict[Name, Trial]:
    """The trial as on a GPU; made-up times say that the kernels are faster."""
    with autocast():
        times = iter([1.0, 2.0, 1.0, 2.0])
        return dict(try_kernels(engine, timer=lambda work, device: next(times), **named))


@pytest.mark.slow
def test_a_run_uses_what_its_trial_found_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (head, triton_head, kernels):
        monkeypatch.setattr(module, "chunk_rows", lambda vocabulary: 16)
    monkeypatch.setattr(flex_module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex_module, "_validate_device", lambda *_: None)
    plain = train(tmp_path / "plain", max_steps=2, **SMALL)
    assert record_of(plain.folder)["kernels"] == {}
    monkeypatch.setattr(prepare, "choose_kernels", tried)
    monkeypatch.setattr(prepare, "kernels_on", lambda device: kernels_on(torch.device("cuda")))
    calls: list[int] = []
    sound = triton_head.fused_signals
    monkeypatch.setattr(
        triton_head, "fused_signals", lambda *given: (calls.append(1), sound(*given))[1]
    )
    used = train(tmp_path / "used", max_steps=2, **SMALL)
    assert calls
    record = record_of(used.folder)
    assert {name: trial["used"] for name, trial in record["kernels"].items()} == {
        "attention": True,
        "head": True,
    }
    assert record["kernels"]["head"]["seconds_before"] == 2.0
    assert record["model"]["hash"] != record_of(plain.folder)["model"]["hash"]
    assert record["reference"]["computed"] == len(ROWS)  # not what other kernels had computed
    assert record["reference"]["first_step_max_log_ratio"] <= 1e-5
    for line, expected in zip(metrics_of(used), metrics_of(plain), strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert line["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tried again, a kernel may be found unfit in the middle of a run")

    stopped = interrupted_at(1, lambda: train(tmp_path / "again", max_steps=2, **SMALL))
    assert stopped.record["status"] == "stopped"
    monkeypatch.setattr(prepare, "choose_kernels", refuse)
    resumed = train(tmp_path / "again", max_steps=2, resume=True, **SMALL)
    assert record_of(resumed.folder)["kernels"] == record_of(used.folder)["kernels"]
    assert metrics_of(resumed) == metrics_of(used)
