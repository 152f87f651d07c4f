"""`collimate.score`: per-token log-probs of given answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import nn

from collimate._checks import BadComposition
from collimate.data import Loaded
from collimate.engine.check import check_layout, require_readable
from collimate.engine.evaluate import Rows, log_probs
from collimate.engine.load import AnyModel, Tokenizer, load_model, load_tokenizer, quiet
from collimate.engine.model import LogProbModel
from collimate.engine.packing import token_weights
from collimate.engine.quantize import Quantization
from collimate.engine.run_folder import write_json_lines
from collimate.engine.runtime import Runtime, explaining_memory
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples
from collimate.jobs.settings import SCORE_SETTINGS, settings_from


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRow:
    """The log-probs of one row's answers.

    row: 0-based position in the data. answers: for each answer float32 log-probs (nats), one per
    token, the end-of-sequence token included. weights: of each token in the answer's sum: 0 for
    what the user says within an answer of several turns, else 1. reference: the log-probs under
    the reference, or None.
    """

    row: int
    answers: tuple[Float[np.ndarray, " _"], ...]  # one length each
    weights: tuple[Float[np.ndarray, " _"], ...]
    reference: tuple[Float[np.ndarray, " _"], ...] | None = None

    def sums(self, log_probs: tuple[Float[np.ndarray, " _"], ...]) -> tuple[float, ...]:
        """Weighted sum of each answer's log-probs: what a method reads (nats)."""
        return tuple(
            float(np.dot(values.astype(np.float64), weights))
            for values, weights in zip(log_probs, self.weights, strict=True)
        )

    @property
    def chosen(self) -> Float[np.ndarray, " token"]:
        """The chosen answer of a pair. Errors: BadComposition if the row is not a pair."""
        return self._of_pair(0)

    @property
    def rejected(self) -> Float[np.ndarray, " token"]:
        """The rejected answer of a pair. Errors: BadComposition if the row is not a pair."""
        return self._of_pair(1)

    def _of_pair(self, index: int) -> Float[np.ndarray, " token"]:
        if len(self.answers) != 2:
            raise BadComposition(
                f"row {self.row} has {len(self.answers)} answers, and only a pair has a chosen and a "
                "rejected one; use .answers"
            )
        return self.answers[index]


def score(
    model: AnyModel,
    data: Any,
    tokenizer: Tokenizer | str | Path | None = None,
    reference: AnyModel | None = None,
    *,
    bad_rows: str | Path | None = None,
    **settings: Any,
) -> list[ScoredRow]:
    """Per-token log-probs of every answer under `model` (and `reference`), in the order of the data.

    A row's numbers do not depend on the other rows or their order beyond float32 rounding.

    model, data, tokenizer, reference: as `collimate.train` takes them. bad_rows: a file for the
    rows that `on_bad_row="skip"` leaves out, one JSON object each (file, row, field, reason,
    message); not there afterwards if there is none. settings: those of `TrainSettings` that are in
    `SCORE_SETTINGS`; progress is off.

    Returns one `ScoredRow` per usable row. Errors: BadData, BadModel, BadConfig, OutOfMemory.
    """
    options = settings_from({"progress": False, **settings}, *SCORE_SETTINGS)
    quiet()
    runtime = Runtime(device=options.device, precision=options.precision)
    console = Console(enabled=options.progress and runtime.processes.is_main)
    tokens = load_tokenizer(tokenizer, model, trust_remote_code=options.trust_remote_code)
    quantization = Quantization.of(
        options.quantize, precision=options.precision, device=runtime.device
    )
    if quantization is not None:
        quantization.require_runs()
    policy = load_model(
        model, trust_remote_code=options.trust_remote_code, quantization=quantization
    )
    loaded = load_examples(data, tokens, policy, **options.of_data())
    if runtime.processes.is_main:
        _say_what_is_missing(loaded)

    def rows_of(scored: nn.Module, what: str) -> Rows:
        training = scored.training
        scored.to(runtime.device).eval()
        longest = max(example.tokens for example in loaded.examples)
        check = check_layout(scored, longest=longest, gradients=False, processes=runtime.processes)
        with console.bar(what, total=len(loaded.examples)) as bar:
            rows = log_probs(
                LogProbModel(scored, shared=check.shared),
                loaded.examples,
                budget=options.tokens_per_micro_batch,
                autocast=runtime.autocast,
                progress=bar.advance,
                processes=runtime.processes,
            )
        scored.train(training)
        return rows

    with explaining_memory():
        rows = rows_of(policy, "scoring")
        others = None
        if reference is not None:
            other = load_model(reference, trust_remote_code=options.trust_remote_code)
            require_readable(other, loaded.examples)
            others = rows_of(other, "reference")
    if bad_rows is not None and runtime.processes.is_main:
        Path(bad_rows).unlink(missing_ok=True)
        write_json_lines(Path(bad_rows), loaded.bad_rows)
    return [
        ScoredRow(
            row=example.row,
            answers=rows[i],
            weights=tuple(map(token_weights, example.answers)),
            reference=None if others is None else others[i],
        )
        for i, example in enumerate(loaded.examples)
    ]


def _say_what_is_missing(loaded: Loaded) -> None:
    """A score that quietly covers less than the file would be compared with one that covers all."""
    facts, console = loaded.facts, Console(enabled=True)
    for reason, count in facts.skipped.items():
        console.say(f"{count} rows left out: {reason}")
    if facts.answers_truncated:
        console.say(f"{facts.answers_truncated} answers truncated")
    if facts.prompts_truncated:
        console.say(f"{facts.prompts_truncated} prompts truncated")
