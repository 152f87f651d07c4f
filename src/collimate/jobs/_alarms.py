"""What a run's own numbers say against it: told once each, while it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from collimate.engine.pair_table import COLUMNS, PairTable
from collimate.engine.run_folder import RunFolder
from collimate.report import DISPLACED_LINES as LINES
from collimate.report import (
    FLAT_LINES,
    began,
    displaced,
    displaced_sentence,
    flat_loss,
    suspect_pairs,
)

_DISPLACED = ("log_ratio_chosen", "log_ratio_rejected", "log_prob_chosen")


class Alarms:
    """Watches the lines of metrics.jsonl, and says in plain sentences what is wrong.

    peak: the largest learning rate of the run. max_skipped: steps that may be skipped in all.
    compares: whether log-ratios are changes since the start; else nobody knows what was displaced.
    pairs: what is known of each. say: tells a person.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        peak: float,
        max_skipped: int,
        compares: bool,
        pairs: PairTable | None,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.pairs, self.say = folder, pairs, say
        self.peak, self.max_skipped, self.compares = peak, max_skipped, compares
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=FLAT_LINES)
        self.fell: list[tuple[int, float]] = []  # step, mean log-ratio of its chosen answers
        self.flat = False
        self.displacement: dict[str, Any] | None = None

    def continues(self, lines: Iterable[Mapping[str, Any]], found: Iterable[Any]) -> None:
        """The lines of a run that goes on, and the alarms that they had rung."""
        for line in lines:
            if "evaluation" not in line:
                self._keep(line)
        last = self.recent[-1]["step"] if self.recent else 0
        known = [alarm for alarm in found if alarm["name"] == "displacement"]
        self.displacement = next((dict(x) for x in known if x["step"] <= last), None)
        self.flat = self._flat() is not None

    def see(self, line: Mapping[str, Any]) -> None:
        """Take in a new line, and say what it shows."""
        if "skipped" in line:
            self.say(
                f"step {line['step']} was skipped, its loss or gradient is not finite "
                f"({line['skipped']}): {line['skipped_steps']} of at most {self.max_skipped}; "
                "metrics.jsonl names its rows"
            )
        self._keep(line)
        reason = None if self.flat else self._flat()
        if reason is not None:
            self.flat = True
            self.say(reason)
        if self.displacement is None and self._displaced():
            self.displacement = {"name": "displacement", "step": line["step"]}
            self.explain()
            self.say(self.displacement["sentence"])

    def explain(self) -> None:
        """Say of displacement what is known by now, and write down the rows that are suspect.

        Where the answers have come back since, what was said stays.
        """
        if self.displacement is None or not self._displaced():
            return
        steps, chosen = (np.array(x) for x in zip(*self.fell, strict=True))
        lost, since = -float(chosen[-LINES:].mean()), int(steps[began(chosen)])
        rows = None if self.pairs is None else _suspect_rows(self.pairs)
        count = None if rows is None else len(rows)
        self.displacement["sentence"] = displaced_sentence(lost, since, count)
        self.folder.write_suspect_rows(rows or ())

    def to_json(self) -> list[Mapping[str, Any]]:
        """`alarms` of run.json."""
        return [] if self.displacement is None else [self.displacement]

    def _keep(self, line: Mapping[str, Any]) -> None:
        self.recent.append(line)
        if line.get("log_ratio_chosen") is not None:
            self.fell.append((line["step"], line["log_ratio_chosen"]))

    def _flat(self) -> str | None:
        columns = (self._last(name) for name in ("loss", "gradient_norm", "learning_rate"))
        return flat_loss(*columns, peak=self.peak)

    def _displaced(self) -> bool:
        if not self.compares:
            return False
        chosen, rejected, now = (self._last(name) for name in _DISPLACED)
        return displaced(chosen, rejected, now - chosen)

    def _last(self, name: str) -> Float[np.ndarray, " line"]:
        """A field of the last lines, NaN where one lacks it."""
        values = (line.get(name) for line in self.recent)
        return np.array([np.nan if x is None else x for x in values], dtype=np.float64)


def _suspect_rows(pairs: PairTable) -> list[Mapping[str, Any]]:
    """suspect_rows.jsonl, the most alike first."""
    names = ("row", "log_prob_chosen", "start_log_prob_chosen", "ches_length_normalised")
    row, now, start, ches = (pairs.table[:, COLUMNS.index(name)] for name in names)
    return [
        {
            "row": int(row[i]),
            "ches_length_normalised": float(ches[i]),
            "chosen_change": float(now[i] - start[i]),
            "reason": "its answers are among the most alike to the model, and the chosen one was lost",
        }
        for i in suspect_pairs(now - start, ches)
    ]
