"""Wall-clock time and peak memory of the phases of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from collimate.engine.memory import peak_memory, reset_peak_memory


class Phases:
    """Seconds by phase, added up over calls, and the most bytes in use on `device`."""

    def __init__(self) -> None:
        self._done: dict[str, float] = {}
        self._open: dict[str, float] = {}  # name -> when it began
        self._peaks: dict[str, int] = {}
        self.device = torch.device("cpu")
        self._before, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, those that still last included."""
        now, found = time.perf_counter(), dict(self._done)
        for name, start in self._open.items():
            found[name] = found.get(name, 0.0) + now - start
        return {name: round(spent, 4) for name, spent in found.items()}

    def continues(self, record: Mapping[str, Any]) -> None:
        """Add what an interrupted job had spent, by its record."""
        for name, spent in record["phases"].items():
            self._done[name] = self._done.get(name, 0.0) + spent
        for name, peak in record.get("peak_memory", {}).items():
            self._peaks[name] = max(self._peaks.get(name, 0), peak)
        self._before += record["seconds"]

    def to_json(self) -> dict[str, Any]:
        """For the run record: phases (seconds), peak_memory (bytes), seconds in all."""
        self._note_peak()
        return {
            "phases": self.seconds,
            "peak_memory": dict(self._peaks),
            "seconds": self.total(),
        }

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the context towards `name`; phases do not nest."""
        self._open[name] = time.perf_counter()
        reset_peak_memory(self.device)
        try:
            yield
        finally:
            self._note_peak()
            spent = time.perf_counter() - self._open.pop(name)
            self._done[name] = self._done.get(name, 0.0) + spent

    def _note_peak(self) -> None:
        peak = peak_memory(self.device)
        if peak is not None:
            for name in self._open:
                self._peaks[name] = max(self._peaks.get(name, 0), peak)

    def total(self) -> float:
        """Seconds since the job began, and those of the job it continues."""
        return round(self._before + time.perf_counter() - self._began, 3)
