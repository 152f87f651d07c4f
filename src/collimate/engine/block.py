"""Examples as bytes and back: what a worker on another machine is given to score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import safetensors.numpy

from collimate._types import Answer, Example, Role


def block_bytes(examples: Sequence[Example]) -> bytes:
    """Token ids, boundaries, token weights, labels, roles and row numbers, as safetensors; no columns.

    Equal examples give equal bytes, so that their hash names them.

    >>> one = Example(prompt=np.array([5, 6]), answers=(Answer(ids=np.array([7])),), row=3)
    >>> (same,) = examples_of(block_bytes([one]))
    >>> same.row, same.prompt.tolist(), same.answers[0].ids.tolist()
    (3, [5, 6], [7])
    """
    answers = [answer for example in examples for answer in example.answers]
    weights = [a.token_weight for a in answers if a.token_weight is not None]
    return safetensors.numpy.save(
        {
            "row": np.array([example.row for example in examples], dtype=np.int64),
            "answers": np.array([len(example.answers) for example in examples], dtype=np.int64),
            "prompt_length": np.array(
                [len(example.prompt) for example in examples], dtype=np.int64
            ),
            "prompt": _joined([example.prompt for example in examples], np.int32),
            "answer_length": np.array([len(answer.ids) for answer in answers], dtype=np.int64),
            "answer": _joined([answer.ids for answer in answers], np.int32),
            "label": np.array([a.label or 0 for a in answers], dtype=np.int8),
            "role": np.array([a.role for a in answers], dtype=np.int8),
            "weighted": np.array([a.token_weight is not None for a in answers], dtype=np.uint8),
            "weight": _joined(weights, np.float32),
        }
    )


def examples_of(block: bytes) -> list[Example]:
    """The examples that `block_bytes` was given."""
    found = safetensors.numpy.load(block)
    prompts = iter(_cut(found["prompt"], found["prompt_length"]))
    lengths, weighted = found["answer_length"], found["weighted"].astype(bool)
    ids, weights = (
        iter(_cut(found["answer"], lengths)),
        iter(_cut(found["weight"], lengths[weighted])),
    )
    answers = iter(
        [
            Answer(
                ids=next(ids),
                label=label or None,
                token_weight=next(weights) if weight else None,
                role=Role(role),
            )
            for weight, label, role in zip(
                weighted, found["label"].tolist(), found["role"].tolist(), strict=True
            )
        ]
    )
    return [
        Example(prompt=next(prompts), answers=tuple(next(answers) for _ in range(count)), row=row)
        for row, count in zip(found["row"].tolist(), found["answers"].tolist(), strict=True)
    ]


def _joined(arrays: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *(array.astype(dtype) for array in arrays)])


def _cut(flat: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(flat, np.cumsum(lengths))[:-1]
