"""Token ids of one row put together: ends, limits and the checks that need tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collimate._types import Answer, Example, Role
from collimate.data.bad_rows import Reason
from collimate.data.boundary import Boundary
from collimate.data.formats import Format
from collimate.data.limits import Limits
from collimate.data.parse import Parsed
from collimate.data.prompts import Content
from collimate.data.templates import Draft
from collimate.data.tokenizer import Edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A row understood, laid out and tokenised, not yet put together.

    prompt: its ids. answers: ids of each segment of each answer. numbers: its numeric columns.
    joint_differs: whether tokenising prompt and answers together would give other tokens.
    """

    parsed: Parsed
    draft: Draft
    prompt: list[int]
    answers: list[list[list[int]]]
    numbers: dict[str, float]
    joint_differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """An example, and what happened to its row on the way.

    answers_truncated: how many of its answers were cut. joint_differs: tokenising prompt and answer
    together would give other tokens. end_added: the end-of-sequence token was appended to an
    answer. end_inside: one stands inside an answer. unknown: the tokenizer's unknown token occurs.
    masked: some answer tokens have weight 0. near_tie: the answers differ in case or white space
    alone. repeats_prompt: all answers begin with the prompt. ignored: the row's columns that were
    neither used nor numbers.
    """

    example: Example
    format: Format
    prompt_truncated: bool
    answers_truncated: int
    joint_differs: bool
    end_added: bool
    end_inside: bool
    unknown: bool
    masked: bool
    near_tie: bool
    repeats_prompt: bool
    ignored: frozenset[str]


@dataclass(slots=True)
class _Sequence:
    """An answer in the making."""

    ids: list[int]
    weights: list[float]
    truncated: bool = False
    end_added: bool = False

    @property
    def said(self) -> bool:
        """Whether any token of the model's own is there, the last one (the end) left out."""
        return any(self.weights[:-1])


def assemble(pieces: Pieces, edges: Edges, limits: Limits, boundary: Boundary) -> Encoded:
    """The example of one row.

    Raises BadRow for an empty prompt or answer, equal answers, and anything beyond `limits`.
    """
    parsed = pieces.parsed
    prompt, prompt_truncated = _prompt(pieces, edges, limits)
    answers = [_answer(pieces, number, edges, boundary) for number in range(len(pieces.answers))]
    end_inside = any(
        len(segments) == 1 and not edges.ends.isdisjoint(answer.ids[:-1])
        for segments, answer in zip(pieces.answers, answers, strict=True)
    )
    _check_distinct(parsed, answers, Reason.EQUAL_TOKENS, "tokenisation")
    for field, answer in zip(parsed.fields, answers, strict=True):
        _truncate(parsed, field, answer, limits)
    if any(answer.truncated for answer in answers):
        _check_distinct(parsed, answers, Reason.EQUAL_TRUNCATED, "truncation")
    _check_sizes(parsed, prompt, answers, limits)
    example = Example(
        prompt=np.array(prompt, dtype=np.int32),
        answers=tuple(
            Answer(
                ids=np.array(answer.ids, dtype=np.int32),
                label=label,
                score=score,
                role=role,
                token_weight=None if all(answer.weights) else np.array(answer.weights, np.float32),
            )
            for answer, label, score, role in zip(
                answers, parsed.labels, parsed.scores, parsed.roles, strict=True
            )
        ),
        row=parsed.row.index,
        columns=pieces.numbers,
    )
    compared = [
        _folded(answer)
        for answer, role in zip(parsed.answers, parsed.roles, strict=True)
        if role is Role.ANSWER
    ]
    every = [prompt, *(answer.ids for answer in answers)]
    return Encoded(
        example=example,
        format=parsed.format,
        prompt_truncated=prompt_truncated,
        answers_truncated=sum(answer.truncated for answer in answers),
        joint_differs=pieces.joint_differs,
        end_added=any(answer.end_added for answer in answers),
        end_inside=end_inside,
        # Some tokenizers use one token as unknown and as end.
        unknown=edges.unknown not in edges.ends and any(edges.unknown in ids for ids in every),
        masked=any(answer.token_weight is not None for answer in example.answers),
        near_tie=len(set(compared)) < len(compared),
        repeats_prompt=all(_begins(answer, parsed.prompt) for answer in parsed.answers),
        ignored=frozenset(set(parsed.row.values) - parsed.used - set(pieces.numbers)),
    )


def _prompt(pieces: Pieces, edges: Edges, limits: Limits) -> tuple[list[int], bool]:
    templated = not isinstance(pieces.parsed.prompt, str)
    ids = pieces.prompt if templated else [*edges.prefix, *pieces.prompt]
    if not ids:
        raise pieces.parsed.row.bad(
            "prompt",
            Reason.EMPTY_PROMPT,
            "expected a prompt of at least one token, got none; the first token of an answer needs "
            "one before it, and this tokenizer adds no beginning-of-sequence token: give a prompt, "
            "if only a line break",
        )
    most = limits.max_prompt
    if most is None or len(ids) <= most:
        return ids, False
    # A beginning-of-sequence token carries no text, and models rely on it: it stays.
    start = ids[:1] if most > 1 and ids[0] == edges.bos else []
    return start + ids[len(ids) - most + len(start) :], True


def _answer(pieces: Pieces, number: int, edges: Edges, boundary: Boundary) -> _Sequence:
    """Segments joined, with weights and an end."""
    answer = _Sequence([], [])
    segments = pieces.draft.answers[number]
    for at, (segment, ids) in enumerate(zip(segments, pieces.answers[number], strict=True)):
        spare = boundary.space_after_end(segment, ids, edges.ends) if segment.weight else 0
        kept = len(ids) - spare
        answer.ids += ids[:kept]
        answer.weights += [segment.weight] * kept
        if at + 1 < len(segments):
            answer.ids += ids[kept:]
            answer.weights += [0.0] * spare
    if not answer.ids or answer.ids[-1] not in edges.ends:
        answer.end_added = True
        answer.ids.append(edges.eos)
        answer.weights.append(1.0)
    if not answer.said:
        field = pieces.parsed.fields[number]
        raise pieces.parsed.row.bad(
            field,
            Reason.EMPTY_ANSWER,
            "expected at least one token before the end of the answer, got none after "
            "tokenisation; the tokenizer or the chat template drops this text: remove the row",
        )
    return answer


def _truncate(parsed: Parsed, field: str, answer: _Sequence, limits: Limits) -> None:
    most, length = limits.max_answer, len(answer.ids)
    if most is None or length <= most:
        return
    if not limits.truncate_answers:
        raise parsed.row.bad(
            field,
            Reason.ANSWER_TOO_LONG,
            f"expected at most max_answer = {most} tokens, got {length} (end-of-sequence "
            "included); raise --max-answer, or allow cutting with --truncate-answers, which loses "
            "the end-of-sequence token",
        )
    del answer.ids[most:], answer.weights[most:]
    answer.truncated = True
    if not any(answer.weights):
        raise parsed.row.bad(
            field,
            Reason.EMPTY_ANSWER,
            f"expected a token of the assistant among the first {most}, got none after truncation; "
            "raise --max-answer",
        )


def _check_distinct(parsed: Parsed, answers: list[_Sequence], reason: Reason, after: str) -> None:
    seen = set[tuple[tuple[int, ...], tuple[float, ...]]]()
    for answer, role, field in zip(answers, parsed.roles, parsed.fields, strict=True):
        if role is not Role.ANSWER:
            continue
        key = (tuple(answer.ids), tuple(answer.weights))
        if key in seen:
            raise _same(parsed, field, answer, reason, after)
        seen.add(key)


def _same(parsed: Parsed, field: str, answer: _Sequence, reason: Reason, after: str) -> Exception:
    way_out = (
        "raise --max-answer or remove the row"
        if reason is Reason.EQUAL_TRUNCATED
        else "the tokenizer writes both alike: remove the row"
    )
    other = "chosen" if field == "rejected" else "the others"
    return parsed.row.bad(
        field,
        reason,
        f"expected another answer than {other}, got the same {len(answer.ids)} tokens after "
        f"{after}, which teaches nothing; {way_out}",
    )


def _check_sizes(
    parsed: Parsed, prompt: list[int], answers: list[_Sequence], limits: Limits
) -> None:
    longest = max(len(answer.ids) for answer in answers)
    if limits.context is not None and len(prompt) + longest > limits.context:
        raise parsed.row.bad(
            None,
            Reason.ROW_TOO_LONG,
            f"expected prompt and answer within the model's context of {limits.context} tokens, "
            f"got {len(prompt)} + {longest}; shorten prompts with --max-prompt, or answers with "
            "--max-answer and --truncate-answers",
        )
    if limits.vocab_size is None:
        return
    for field, ids in zip(
        ("prompt", *parsed.fields), (prompt, *(answer.ids for answer in answers)), strict=True
    ):
        if ids and max(ids) >= limits.vocab_size:
            raise parsed.row.bad(
                field,
                Reason.OUTSIDE_VOCABULARY,
                f"expected token ids below the model's vocabulary of {limits.vocab_size}, got "
                f"{max(ids)}; tokenizer and model do not belong together, or tokens were added: "
                "resize the model's embeddings, or use its own tokenizer",
            )


def _folded(content: Content) -> str:
    text = content if isinstance(content, str) else "\n".join(m["content"] for m in content)
    return "".join(text.split()).casefold()


def _begins(answer: Content, prompt: Content) -> bool:
    if isinstance(answer, str):
        return isinstance(prompt, str) and bool(prompt.strip()) and answer.startswith(prompt)
    return answer[: len(prompt)] == prompt
