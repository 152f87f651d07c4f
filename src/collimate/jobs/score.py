"""`collimate.score`: per-token log-probs of given answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import nn

from collimate._checks import BadComposition, BadConfig, BadModel
from collimate._types import Example
from collimate.engine.check import check_layout
from collimate.engine.evaluate import Rows, log_probs, stored_log_probs
from collimate.engine.fingerprint import model_fingerprint, sequence_key
from collimate.engine.kernels import choose_kernels
from collimate.engine.load import AnyModel, Tokenizer, load_model, quiet
from collimate.engine.model import LogProbModel
from collimate.engine.packing import token_weights
from collimate.engine.processes import explaining_lost_process
from collimate.engine.quantize import Quantization
from collimate.engine.readable import require_readable
from collimate.engine.run_folder import write_json_lines
from collimate.engine.runtime import Runtime, explaining_memory
from collimate.engine.tokenizer import load_tokenizer, other_tokens
from collimate.engine.trial import kernels_of
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples
from collimate.jobs.reference import Frozen, store_for
from collimate.jobs.settings import SCORE_SETTINGS, settings_from


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredRow:
    """The log-probs of one row's answers.

    row: 0-based position in the data. names: of the answers: chosen and rejected (and gold), completion,
    or answer_0, answer_1 ... of a list. answers: for each answer float32 log-probs (nats), one per
    token, the end-of-sequence token included. weights: of each token in the answer's sum: 0 for
    what the user says within an answer of several turns, else 1. reference: the log-probs under
    the reference, or None.
    """

    row: int
    names: tuple[str, ...]
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
        if self.names[:2] != _PAIR:
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
    cache: str | Path | None = None,
    **settings: Any,
) -> list[ScoredRow]:
    """Per-token log-probs of every answer under `model` (and `reference`), in the order of the data.

    A row's numbers do not depend on the other rows or their order beyond float32 rounding.

    model, data, tokenizer, reference: as `collimate.train` takes them. bad_rows: a file for the
    rows that `on_bad_row="skip"` leaves out, one JSON object each (file, row, field, reason,
    message); not there afterwards if there is none. cache: a folder of reference log-probs
    (docs/cache.md): the model's are read from it where they are there, and added where not, so
    that `train` with this model as its reference computes none. settings: those of `TrainSettings`
    that are in `SCORE_SETTINGS`; progress is off.

    Returns one `ScoredRow` per usable row. Errors: BadData, BadModel, BadConfig, OutOfMemory.
    """
    options = settings_from({"progress": False, **settings}, *SCORE_SETTINGS)
    require_one_model(reference, cache)
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
    loaded = load_examples(data, tokens, policy, kind=None, **options.of_data())
    if runtime.processes.is_main:
        say_what_is_missing(
            loaded.facts.skipped,
            answers_truncated=loaded.facts.answers_truncated,
            prompts_truncated=loaded.facts.prompts_truncated,
        )

    def rows_of(scored: nn.Module, what: str) -> Rows:
        training = scored.training
        scored.to(runtime.device).eval()
        longest = max(example.tokens for example in loaded.examples)
        # Training checks gradients too, and its layout is part of what it looks up.
        check = check_layout(
            scored,
            longest=longest,
            gradients="none" if cache is None else "all",
            processes=runtime.processes,
        )
        engine = LogProbModel(scored, shared=check.shared)
        trials = choose_kernels(
            engine,
            longest=longest,
            tokens=options.tokens_per_micro_batch,
            autocast=runtime.autocast,
            gradients="none" if cache is None else "all",
            processes=runtime.processes,
        )
        engine.kernels = kernels_of(trials)
        with console.bar(what, total=len(loaded.examples)) as bar:
            common: dict[str, Any] = {
                "budget": options.tokens_per_micro_batch,
                "autocast": runtime.autocast,
                "progress": bar.advance,
                "processes": runtime.processes,
            }
            if cache is None:
                rows = log_probs(engine, loaded.examples, **common)
            else:
                fingerprint = model_fingerprint(
                    scored,
                    layout=check.layout + engine.kernels.suffix,
                    precision=options.precision,
                )
                frozen = Frozen(given=model, engine=engine, fingerprint=fingerprint)
                keys = {sequence_key(e, answer) for e in loaded.examples for answer in e.answers}
                store = store_for(Path(cache), frozen, keys, options)
                (rows,), _ = stored_log_probs(engine, [loaded.examples], store, **common)
        scored.train(training)
        return rows

    with explaining_memory(), explaining_lost_process("nothing was written; score again"):
        rows = rows_of(policy, "scoring")
        others = None
        if reference is not None:
            other = load_model(
                reference,
                trust_remote_code=options.trust_remote_code,
                quantization=None if isinstance(reference, nn.Module) else quantization,
            )
            trusted = options.trust_remote_code
            unlike = other_tokens(tokens, reference, trust_remote_code=trusted)
            require_readable(other, loaded.examples, unlike)
            others = rows_of(other, "reference")
    if bad_rows is not None and runtime.processes.is_main:
        Path(bad_rows).unlink(missing_ok=True)
        write_json_lines(Path(bad_rows), loaded.bad_rows)
    return [
        ScoredRow(
            row=example.row,
            names=names_of(example),
            answers=rows[i],
            weights=tuple(map(token_weights, example.answers)),
            reference=None if others is None else others[i],
        )
        for i, example in enumerate(loaded.examples)
    ]


def require_one_model(reference: object, cache: object) -> None:
    """Errors: BadConfig where a cache is to be filled and there are two models."""
    if reference is not None and cache is not None:
        raise BadConfig(
            "the cache is filled with the log-probs of one model, and a reference was given too: give "
            "the reference as the model to fill the cache with it, or score without the cache"
        )


def say_what_is_missing(
    skipped: Mapping[str, int], *, answers_truncated: int, prompts_truncated: int
) -> None:
    """A score that quietly covers less than the file would be compared with one that covers all."""
    console = Console(enabled=True)
    for reason, count in sorted(skipped.items()):
        console.say(f"{count} rows left out: {reason}")
    if answers_truncated:
        console.say(f"{answers_truncated} answers truncated")
    if prompts_truncated:
        console.say(f"{prompts_truncated} prompts truncated")


def names_of(example: Example) -> tuple[str, ...]:
    """What the answers of an example are called in a file of scores."""
    if example.answers[0].label is None:
        return tuple(f"answer_{i}" for i in range(len(example.answers)))
    return (
        ("completion",) if len(example.answers) == 1 else (*_PAIR, "gold")[: len(example.answers)]
    )


def line(row: ScoredRow, *, tokens: bool) -> dict[str, Any]:
    """The JSON object of one scored row. Errors: BadModel if a number in it is not finite."""
    sums = dict(zip(row.names, row.sums(row.answers), strict=True))
    found: dict[str, Any] = {"row": row.row, **sums}
    for name, weights in zip(row.names, row.weights, strict=True):
        found[f"{name}_tokens"] = int((weights > 0).sum())
    if row.reference is not None:
        for name, other in zip(row.names, row.sums(row.reference), strict=True):
            found[f"{name}_log_ratio"] = sums[name] - other
    if tokens:
        columns = {"log_probs": row.answers, "weights": row.weights}
        if row.reference is not None:
            columns["reference_log_probs"] = row.reference
        for what, column in columns.items():
            for name, values in zip(row.names, column, strict=True):
                found[f"{name}_{what}"] = values.tolist()
    if not all(math.isfinite(value) for value in found.values() if isinstance(value, float)):
        raise BadModel(
            f"row {row.row}: the model gives an answer a log-probability that is not finite, got "
            f"{found}; its weights hold NaN or infinity, or its precision is too low"
        )
    return found


_PAIR = ("chosen", "rejected")
