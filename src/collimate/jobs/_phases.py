"""Wall-clock time of the phases of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Phases:
    """Seconds by phase, added up over calls."""

    def __init__(self) -> None:
        self._done: dict[str, float] = {}
        self._open: dict[str, float] = {}  # name -> when it began
        self._before, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, those that still last included."""
        now, found = time.perf_counter(), dict(self._done)
        for name, start in self._open.items():
            found[name] = found.get(name, 0.0) + now - start
        return {name: round(spent, 4) for name, spent in found.items()}

    def continues(self, seconds: Mapping[str, float], total: float) -> None:
        """Add what an interrupted job had spent before."""
        for name, spent in seconds.items():
            self._done[name] = self._done.get(name, 0.0) + spent
        self._before += total

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the context towards `name`."""
        self._open[name] = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - self._open.pop(name)
            self._done[name] = self._done.get(name, 0.0) + spent

    def total(self) -> float:
        """Seconds since the job began, and those of the job it continues."""
        return round(self._before + time.perf_counter() - self._began, 3)
