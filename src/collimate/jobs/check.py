"""`collimate.check`: what is in a data set, and what training on it would take; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from collimate._checks import BadConfig, positive, require_extra
from collimate._types import Example
from collimate.data import Facts, Lengths, Tokenizer, load_preferences
from collimate.jobs.settings import TrainSettings


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
                data |= {f"{field}_{unit}": lengths.to_json() for unit, lengths in units.items()}
            for counted in ("joint_tokenisation_differs", "prompts_truncated", "answers_truncated"):
                del data[counted]
        return {
            "ok": self.ok,
            "data": {
                **data,
                "ties": self.facts.ties,
                "contradictions": self.facts.contradictions,
                "columns": list(self.facts.columns),
                "ignored": list(self.facts.ignored),
            },
            "bad_rows": list(self.bad_rows),
            "prediction": None if self.prediction is None else self.prediction.to_json(),
        }


def check(
    data: Any,
    model: str | Path | None = None,
    tokenizer: Any = None,
    *,
    max_prompt: int | None = None,
    max_answer: int | None = None,
    truncate_answers: bool = False,
    limit: int | None = None,
    epochs: float = 1.0,
    batch_size: int = 32,
    lora_rank: int | None = None,
    tokens_per_micro_batch: int = 1024,
    trust_remote_code: bool = False,
) -> Checked:
    """Read a data set as `collimate.train` would, and say what is in it; every bad row is found.

    With a model, only its tokenizer and config are read: rows are checked against its context and
    vocabulary, and time and memory of a run are predicted. Without one, what can be told without
    tokens: fields, types, texts, equal answers, duplicates, lengths in characters and words.

    Args: as `collimate.train`. Errors: BadData where no row is good or the file cannot be read as a
    whole; BadModel, BadConfig.

    >>> rows = [{"prompt": "2+2? ", "chosen": "4", "rejected": "five, I think"}]
    >>> checked = check(rows)
    >>> checked.ok, checked.texts["rejected"]["words"].max
    (True, 3)
    """
    positive("epochs", epochs)
    TrainSettings(
        batch_size=batch_size,
        lora_rank=lora_rank,
        limit=limit,
        max_prompt=max_prompt,
        max_answer=max_answer,
        tokens_per_micro_batch=tokens_per_micro_batch,
    )
    if model is None:
        _require_model(
            max_prompt=max_prompt,
            max_answer=max_answer,
            truncate_answers=truncate_answers or None,
            tokenizer=tokenizer,
            lora_rank=lora_rank,
        )
        loaded = load_preferences(data, _Characters(), on_bad_row="skip", limit=limit)
        return Checked(
            facts=loaded.facts,
            bad_rows=loaded.bad_rows,
            texts=_texts(loaded.examples),
            prediction=None,
        )

    require_extra("transformers", "train")
    from collimate.engine.load import add_lora, load_tokenizer
    from collimate.engine.shape import empty_model
    from collimate.jobs._examples import load_examples
    from collimate.jobs._predict import predict

    tokens = load_tokenizer(tokenizer, model, trust_remote_code=trust_remote_code)
    empty = empty_model(model, trust_remote_code=trust_remote_code)
    loaded = load_examples(
        data,
        tokens,
        empty,
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        on_bad_row="skip",
        limit=limit,
    )
    prediction = predict(
        empty if lora_rank is None else add_lora(empty, rank=lora_rank),
        loaded.examples,
        epochs=epochs,
        batch_size=batch_size,
        tokens_per_micro_batch=tokens_per_micro_batch,
    )
    return Checked(facts=loaded.facts, bad_rows=loaded.bad_rows, texts=None, prediction=prediction)


def _require_model(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise BadConfig(
                f"{name} needs a model, whose tokens it counts: give model too (--model)"
            )


def _texts(examples: Sequence[Example]) -> Mapping[str, Mapping[str, Lengths]]:
    """Characters and words of each field."""
    columns = {
        "prompt": [_text(example.prompt) for example in examples],
        "chosen": [_text(example.answers[0].ids) for example in examples],
        "rejected": [_text(example.answers[1].ids) for example in examples],
    }
    return {
        field: {
            "characters": _lengths([len(text) for text in texts]),
            "words": _lengths([len(text.split()) for text in texts]),
        }
        for field, texts in columns.items()
    }


def _lengths(counts: list[int]) -> Lengths:
    return Lengths(median=float(median(counts)), max=max(counts))


_BEGIN, _END, _FIRST = 0, 1, 2
_MARK = "\U0010ffff"  # no character: it stands for the end in what the template writes


def _text(ids: Any) -> str:
    return "".join(chr(i - _FIRST) for i in ids.tolist() if i >= _FIRST)


def _id(character: str) -> int:
    return _END if character == _MARK else ord(character) + _FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class _Characters:
    """A tokenizer of one token per character, for data without a model.

    It begins a text with a token of its own, as many do: an empty prompt is the model's affair.
    """

    name_or_path: str = "characters"
    bos_token_id: int | None = _BEGIN
    eos_token_id: int | None = _END
    unk_token_id: int | None = None
    chat_template: str | None = "role: content"

    def __call__(
        self, text: list[str], *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Mapping[str, Any]:
        """Code points of each text."""
        begin = [_BEGIN] if add_special_tokens else []
        return {"input_ids": [[*begin, *map(_id, part)] for part in text]}

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> Any:
        """The turns one after the other, as text; the assistant's with their end."""
        ends = {"assistant": _MARK}
        turns = "".join(
            f"{turn['role']}: {turn['content']}{ends.get(turn['role'], '')}\n"
            for turn in conversation
        )
        return turns + ("assistant: " if add_generation_prompt else "")


_: type[Tokenizer] = _Characters
