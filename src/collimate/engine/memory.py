"""Memory in use and its peak: of the GPU where there is one, else of this process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def memory_in_use() -> int:
    """Bytes in use now."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def peak_memory() -> int | None:
    """Most bytes in use since the last `reset_peak_memory`, None where the system does not say."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def reset_peak_memory() -> None:
    """Let the peak begin anew; where the system does not allow it, the old one stays."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
