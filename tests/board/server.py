"""The board as a process of its own, as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(root: Path, *flags: str) -> Iterator[str]:
    """`collimate board root` on a free port; its address, as the console says it."""
    command = [sys.executable, "-m", "collimate", "board", str(root), "--port", "0", *flags]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " is at http://" in line, line
        yield line.split(" is at ")[1].strip()
    finally:
        process.terminate()
        process.communicate(timeout=10)
