"""`collimate.check`: what is in a data set, and what training on it would take; nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from collimate._checks import BadConfig, require_extra
from collimate._types import Example, Role
from collimate.axes import Signal
from collimate.data import (
    CharacterTokenizer,
    Facts,
    Kind,
    Lengths,
    Loaded,
    best_score,
    is_wanted,
    load_data,
    with_mismatched,
)
from collimate.jobs.settings import CHECK_SETTINGS, settings_from
from collimate.signals import log_prob


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `check` found.

    facts: of the usable rows; without a model, one character counts as a token. bad_rows: as in
    bad_rows.jsonl. texts: field -> "characters", "words" (between white space) -> lengths, without
    a model only. prediction: time and memory (`Prediction`), with a model only.
    """

    facts: Facts
    bad_rows: tuple[Mapping[str, Any], ...]
    texts: Mapping[str, Mapping[str, Lengths]] | None
    prediction: Any

    @property
    def ok(self) -> bool:
        """Whether every row can be trained on."""
        return not self.bad_rows

    def to_json(self) -> dict[str, Any]:
        """The record that `collimate check --json` prints."""
        data = self.facts.to_json()
        if self.texts is not None:
            for field, units in self.texts.items():
                del data[f"{field}_tokens"]
                data |= {f"{field}_{unit}": asdict(lengths) for unit, lengths in units.items()}
            for counted in ("joint_tokenisation_differs", "prompts_truncated", "answers_truncated"):
                del data[counted]
        return {
            "ok": self.ok,
            "data": data,
            "bad_rows": list(self.bad_rows),
            "prediction": None if self.prediction is None else self.prediction.to_json(),
        }


def check(
    data: Any,
    model: str | Path | None = None,
    tokenizer: Any = None,
    *,
    method: Any = None,
    **settings: Any,
) -> Checked:
    """Read a data set as `collimate.train` would, and say what is in it; every bad row is found.

    With a model, only its tokenizer and config are read: rows are checked against its context and
    vocabulary, and time and memory of a run are predicted. Without one, what can be told without
    tokens: fields, types, texts, equal answers, duplicates, lengths in characters and words.

    With a method, rows are converted and refused as that method's run would, and its loss is computed
    on them once, their log-probs made up; without one they are read as they are written.

    Args: as `collimate.train` takes them; settings: those of `TrainSettings` that are in
    `CHECK_SETTINGS`. Errors: BadData where no row is good or the file cannot be read as a whole;
    BadModel, BadConfig; BadComposition where the method cannot read the rows.

    >>> rows = [{"prompt": "2+2? ", "chosen": "4", "rejected": "five, I think"}]
    >>> checked = check(rows)
    >>> checked.ok, checked.texts["rejected"]["words"].max
    (True, 3)
    """
    options = replace(settings_from(settings, *CHECK_SETTINGS), on_bad_row="skip")
    reads = _Reads() if method is None else _reads(method)
    if model is None:
        _require_model(
            max_prompt=options.max_prompt,
            max_answer=options.max_answer,
            tokenizer=tokenizer,
            lora_rank=options.lora_rank,
            quantize=options.quantize,
        )
        loaded = load_data(
            data,
            CharacterTokenizer(),
            kind=reads.kind,
            format=options.format,
            limit=options.limit,
            on_bad_row="skip",
        )
        if reads.mismatched:
            loaded = replace(loaded, examples=with_mismatched(loaded.examples))
        reads.require(loaded)
        return Checked(
            facts=loaded.facts,
            bad_rows=loaded.bad_rows,
            texts=_texts(loaded.examples),
            prediction=None,
        )

    require_extra("transformers", "train")
    from collimate.engine.load import add_lora, is_adapter
    from collimate.engine.place import place_of
    from collimate.engine.shape import empty_model
    from collimate.engine.tokenizer import load_tokenizer
    from collimate.jobs._examples import load_examples
    from collimate.jobs._predict import predict
    from collimate.jobs._requirements import require_lora

    if options.quantize is not None and not is_adapter(place_of(model)):
        require_lora(options)
    tokens = load_tokenizer(tokenizer, model, trust_remote_code=options.trust_remote_code)
    empty = empty_model(model, trust_remote_code=options.trust_remote_code)
    loaded = load_examples(
        data, tokens, empty, kind=reads.kind, mismatched=reads.mismatched, **options.of_data()
    )
    reads.require(loaded)
    if options.lora_rank is not None:
        empty = add_lora(empty, rank=options.lora_rank)
    prediction = predict(
        empty,
        loaded.examples,
        epochs=options.epochs,
        batch_size=options.batch_size,
        tokens_per_micro_batch=options.tokens_per_micro_batch,
        recompute=options.activation_checkpointing,
        optimizer=options.optimizer,
        quantize=options.quantize,
        signals=reads.signals,
        keeps_reference=reads.keeps_reference and options.lora_rank is None,
    )
    return Checked(facts=loaded.facts, bad_rows=loaded.bad_rows, texts=None, prediction=prediction)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reads:
    """What a method makes of rows; by default there is none.

    require: raises where it cannot be computed on them.
    """

    kind: Kind | None = None
    mismatched: bool = False
    signals: Sequence[Signal] = (log_prob,)
    keeps_reference: bool = False
    require: Callable[[Loaded], None] = lambda loaded: None


def _reads(method: Any) -> _Reads:
    require_extra("transformers", "train")
    from collimate.compose import Objective
    from collimate.engine.noise import without_noise
    from collimate.engine.objective import keeps_reference, needs_of
    from collimate.engine.step import signals_of
    from collimate.jobs._kinds import kind_of
    from collimate.jobs._requirements import require_computable
    from collimate.jobs.train import method_of, require_served

    objective = Objective.of(method_of(method))
    require_served(objective)
    needs = needs_of(objective)

    def require(loaded: Loaded) -> None:
        if needs.noise:
            loaded = replace(loaded, examples=tuple(without_noise(loaded.examples)))
        require_computable(objective, loaded)

    return _Reads(
        kind=kind_of(needs),
        mismatched=needs.mismatched,
        signals=signals_of(objective),
        keeps_reference=keeps_reference(objective),
        require=require,
    )


def _require_model(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise BadConfig(
                f"{name} needs a model, whose tokens it counts: give model too (--model)"
            )


def _texts(examples: Sequence[Example]) -> Mapping[str, Mapping[str, Lengths]]:
    """Characters and words of each field."""
    text = CharacterTokenizer().decode
    said: dict[str, list[str]] = {"chosen": [], "rejected": []}
    for example in examples:
        best = best_score(example)
        for answer in example.answers:
            if answer.role is Role.ANSWER:
                wanted = is_wanted(answer, best)
                said["chosen" if wanted else "rejected"].append(text(answer.ids))
    columns = {"prompt": [text(example.prompt) for example in examples], **said}
    return {
        field: {
            "characters": _lengths([len(text) for text in texts]),
            "words": _lengths([len(text.split()) for text in texts]),
        }
        for field, texts in columns.items()
        if texts
    }


def _lengths(counts: list[int]) -> Lengths:
    return Lengths(median=float(median(counts)), max=max(counts))
