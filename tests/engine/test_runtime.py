"""An allocation that fails is the user's to mend, and nothing else is taken for one."""

from __future__ import annotations

import pytest
import torch

from collimate._checks import BadConfig, OutOfMemory
from collimate.engine.runtime import Runtime, explaining_memory


def test_a_real_failure_is_explained() -> None:
    words = r"(?s)out of memory .*--tokens-per-micro-batch"
    with pytest.raises(OutOfMemory, match=words), explaining_memory():
        torch.empty(2**45)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_other_spellings(error: Exception) -> None:
    with pytest.raises(OutOfMemory), explaining_memory():
        raise error


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explaining_memory():
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "--deepspeed"),
        ("ACCELERATE_USE_FSDP", "true", "--parallel fsdp2"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "--parallel fsdp2"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "--precision bf16"),
    ],
)
def test_what_accelerate_was_told_is_done_or_refused(
    name: str, value: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadConfig, match=way_out):
        Runtime(device="cpu", precision="fp32")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    if name == "ACCELERATE_MIXED_PRECISION":
        Runtime(device="cpu", precision="fp32")
