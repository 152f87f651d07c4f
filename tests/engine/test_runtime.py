"""An allocation that fails is the user's to mend, and nothing else is taken for one."""

from __future__ import annotations

import pytest
import torch

from collimate._checks import OutOfMemory
from collimate.engine.runtime import explaining_memory


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
