"""Rows for a model: the data layer, told what the model's vocabulary and context are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from collimate.data import Loaded, load_preferences
from collimate.data import Tokenizer as DataTokenizer
from collimate.engine.load import Tokenizer, end_ids
from collimate.engine.model import context_of, vocabulary_of


def load_examples(
    source: Any,
    tokenizer: Tokenizer,
    model: nn.Module,
    *,
    max_prompt: int | None,
    max_answer: int | None,
    truncate_answers: bool,
    on_bad_row: str,
    limit: int | None,
    advance: Callable[[int], None] | None = None,
) -> Loaded:
    """Preference pairs as token ids that `model` can read; `advance` counts rows as they are read.

    Errors: BadData, BadConfig.
    """
    read = 0

    def progress(rows: int) -> None:
        nonlocal read
        if advance is not None:
            advance(rows - read)
        read = rows

    return load_preferences(
        source,
        cast(DataTokenizer, tokenizer),  # its ids are dynamic attributes
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        on_bad_row=on_bad_row,
        end_ids=end_ids(model, tokenizer),
        vocab_size=vocabulary_of(model),
        context=context_of(model),
        limit=limit,
        progress=progress,
    )
