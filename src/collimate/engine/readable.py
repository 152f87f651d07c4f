"""Whether a reference can read what the policy is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from collimate._checks import BadModel
from collimate._types import Example
from collimate.engine.model import context_of, vocabulary_of


def require_readable(
    model: nn.Module, examples: Sequence[Example], other: Mapping[int, tuple[str, str]]
) -> None:
    """Errors: BadModel where a reference cannot read the examples: their ids, or their length.

    other: ids that mean another token to the reference (`tokenizer.other_tokens`).
    """
    rows, context = vocabulary_of(model), context_of(model)
    unlike = np.array(sorted(other), dtype=np.int64)
    for example in examples:
        ids = (example.prompt, *(answer.ids for answer in example.answers))
        largest = max(int(part.max()) for part in ids if len(part))
        if largest >= rows:
            raise BadModel(
                f"the reference has a vocabulary of {rows}, and row {example.row} holds token id "
                f"{largest}: give a reference that shares the policy's tokenizer"
            )
        for part in ids:
            wrong = part[np.isin(part, unlike)]
            if len(wrong):
                here, there = other[int(wrong[0])]
                raise BadModel(
                    f"row {example.row} holds token id {wrong[0]}, which is {here!r} to the policy's "
                    f"tokenizer and {there!r} to the reference's: give a reference that shares the "
                    "policy's tokenizer"
                )
        length = len(example.prompt) + max(len(answer.ids) for answer in example.answers)
        if context is not None and length > context:
            raise BadModel(
                f"the reference reads {context} tokens, and row {example.row} has {length}: give a "
                "reference with a longer context, or shorten rows with max_prompt and max_answer"
            )
