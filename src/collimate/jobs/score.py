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
from collimate.engine.load import Tokenizer, load_model, load_tokenizer, quiet
from collimate.engine.model import LogProbModel
from collimate.engine.run_folder import write_json_lines
from collimate.engine.runtime import Runtime
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples

AnyModel = str | Path | nn.Module


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRow:
    """The log-probs of one row's answers.

    row: 0-based position in the data. answers: for each answer float32 log-probs (nats), one per
    token, the end-of-sequence token included. reference: the same under the reference, or None.
    """

    row: int
    answers: tuple[Float[np.ndarray, " _"], ...]  # one length each
    reference: tuple[Float[np.ndarray, " _"], ...] | None = None

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
    max_prompt: int | None = None,
    max_answer: int | None = None,
    truncate_answers: bool = False,
    on_bad_row: str = "stop",
    limit: int | None = None,
    precision: str = "fp32",
    device: str = "auto",
    tokens_per_micro_batch: int = 1024,
    trust_remote_code: bool = False,
    progress: bool = False,
    bad_rows: str | Path | None = None,
) -> list[ScoredRow]:
    """Per-token log-probs of every answer under `model` (and `reference`), in the order of the data.

    A row's numbers do not depend on the other rows or their order beyond float32 rounding.

    Args: as `collimate.train`; bad_rows: a file for the rows that `on_bad_row="skip"` leaves out,
    one JSON object each (file, row, field, reason, message), not written where there is none.
    Returns one `ScoredRow` per usable row. Errors: BadData, BadModel, BadConfig.
    """
    quiet()
    runtime = Runtime(device=device, precision=precision)
    console = Console(enabled=progress)
    policy = load_model(model, trust_remote_code=trust_remote_code)
    tokens = load_tokenizer(tokenizer, model, trust_remote_code=trust_remote_code)
    loaded = load_examples(
        data,
        tokens,
        policy,
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        on_bad_row=on_bad_row,
        limit=limit,
    )

    _say_what_is_missing(loaded)
    if bad_rows is not None:
        write_json_lines(Path(bad_rows), loaded.bad_rows)

    def rows_of(scored: nn.Module, what: str) -> Rows:
        training = scored.training
        scored.to(runtime.device).eval()
        longest = max(example.tokens for example in loaded.examples)
        check = check_layout(scored, longest=longest, gradients=False)
        with console.bar(what, total=len(loaded.examples)) as bar:
            rows = log_probs(
                LogProbModel(scored, shared=check.shared),
                loaded.examples,
                budget=tokens_per_micro_batch,
                autocast=runtime.autocast,
                progress=bar.advance,
            )
        scored.train(training)
        return rows

    rows = rows_of(policy, "scoring")
    others = None
    if reference is not None:
        other = load_model(reference, trust_remote_code=trust_remote_code)
        require_readable(other, loaded.examples)
        others = rows_of(other, "reference")
    return [
        ScoredRow(row=example.row, answers=rows[i], reference=None if others is None else others[i])
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
