"""Answers under other rows' prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from collimate._checks import BadData
from collimate._types import Answer, Example, Role


def with_mismatched(
    examples: Sequence[Example], *, context: int | None = None
) -> tuple[Example, ...]:
    """Each example with an answer of a later one to another prompt, its role MISMATCHED.

    Of the next row, in a circle, whose prompt is another, the first or the second answer by turns;
    `context`: prompt and answer are to fit in so many tokens, so a row whose neighbour is too long
    takes the one after. The same for any order of training, so that reference log-probs are cached.

    Errors: BadData where all prompts are the same, or none of the answers fits under another.

    >>> from collimate.data import CharacterTokenizer, load_data
    >>> rows = [{"prompt": p, "completion": c, "label": True} for p, c in (("a", "b"), ("c", "d"))]
    >>> loaded = load_data(rows, CharacterTokenizer(), kind="thumbs")
    >>> [chr(x) for e in with_mismatched(loaded.examples) for x in e.answers[1].ids[:1]]
    ['d', 'b']
    """
    prompts = [example.prompt.tobytes() for example in examples]
    following = _next_other(prompts)
    found: list[Example] = []
    for i, example in enumerate(examples):
        other = _answer(examples, i, following, context)
        found.append(replace(example, answers=(*example.answers, other)))
    return tuple(found)


def _next_other(prompts: Sequence[bytes]) -> list[int]:
    """For each row the next one, in a circle, with another prompt."""
    count = len(prompts)
    if len(set(prompts)) < 2:
        raise BadData(
            "this method compares answers with answers to other prompts, and all rows have the same "
            "prompt: give rows with several prompts, or use a method of pairs"
        )
    after = [0] * count
    for i in range(2 * count - 1, -1, -1):  # twice around, so that the last rows know the first
        here, next_one = i % count, (i + 1) % count
        after[here] = next_one if prompts[here] != prompts[next_one] else after[next_one]
    return after


def _answer(
    examples: Sequence[Example], i: int, following: Sequence[int], context: int | None
) -> Answer:
    prompt, at = examples[i].prompt, i
    for _ in range(len(examples)):
        at = following[at]
        if examples[at].prompt.tobytes() == prompt.tobytes():
            continue
        answers = [a for a in examples[at].answers if a.role is Role.ANSWER]
        answer = answers[i % len(answers)]
        if context is None or len(prompt) + len(answer.ids) <= context:
            return Answer(ids=answer.ids, token_weight=answer.token_weight, role=Role.MISMATCHED)
    raise BadData(
        f"row {examples[i].row}: no answer to another prompt fits under this prompt of {len(prompt)} "
        f"tokens within the model's context of {context}; shorten rows with max_prompt or max_answer"
    )
