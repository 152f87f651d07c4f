"""Rows for a model: the data layer, told what the model's vocabulary and context are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from torch import nn

from collimate.data import Kind, Limits, Loaded, load_data, with_mismatched
from collimate.data import Tokenizer as DataTokenizer
from collimate.engine.load import Tokenizer, end_ids
from collimate.engine.model import context_of, vocabulary_of


def load_examples(
    source: Any,
    tokenizer: Tokenizer,
    model: nn.Module,
    *,
    kind: Kind | None = "preference",
    mismatched: bool = False,
    format: str = "auto",
    max_prompt: int | None,
    max_answer: int | None,
    truncate_answers: bool,
    on_bad_row: str,
    limit: int | None,
    advance: Callable[[int], None] | None = None,
) -> Loaded:
    """Judged answers as token ids that `model` can read; `advance` is told of rows as they are read.

    kind: what they are read as, None: as they are written. mismatched: each with an answer to another
    prompt. Errors: BadData, BadConfig.
    """
    loaded = load_data(
        source,
        cast(DataTokenizer, tokenizer),  # its ids are dynamic attributes
        limits=Limits(
            max_prompt=max_prompt,
            max_answer=max_answer,
            truncate_answers=truncate_answers,
            context=context_of(model),
            vocab_size=vocabulary_of(model),
        ),
        end_ids=end_ids(model, tokenizer),
        kind=kind,
        format=format,
        limit=limit,
        on_bad_row=on_bad_row,
        progress=advance,
    )
    if not mismatched:
        return loaded
    return replace(loaded, examples=with_mismatched(loaded.examples, context=context_of(model)))
