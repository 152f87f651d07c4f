"""The result of a training run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """A finished (or stopped) run: its folder, its record (run.json), its model.

    seconds: time of each phase (load, tokenise, check, reference, evaluate, train, save).
    """

    folder: Path
    record: dict[str, Any]
    model: Any

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each phase."""
        return self.record["phases"]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        text = (self.folder / "metrics.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]
