"""Conversations as text through the chat template, with the model's own turns marked."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import NamedTuple

from collimate._checks import BadData
from collimate.data.bad_rows import Reason, shown
from collimate.data.parse import Parsed
from collimate.data.prompts import Content, Conversation
from collimate.data.row import Row
from collimate.data.tokenizer import Tokenizer


class Segment(NamedTuple):
    """A piece of an answer, tokenised apart from its neighbours.

    weight: 1 for what the model itself writes, 0 for turns and frames that it is given.
    """

    text: str
    weight: float


class Draft(NamedTuple):
    """A row as text: the prompt, and each answer in segments."""

    prompt: str
    answers: tuple[tuple[Segment, ...], ...]


def lay_out(tokenizer: Tokenizer, parsed: Parsed) -> Draft:
    """The texts to tokenise. Plain text stays as it is; conversations go through the chat template.

    The prompt of a conversation ends with the template's opening of an assistant turn if every
    answer begins with one. Each later opening, and each turn that is not the assistant's, gets
    weight 0; an assistant's turn, with whatever the template closes it with, weight 1.
    Raises BadData without a chat template, BadRow if the template refuses the row or does not
    render the prompt as a beginning of the whole.
    """
    if isinstance(parsed.prompt, str):
        texts = [answer for answer in parsed.answers if isinstance(answer, str)]
        return Draft(parsed.prompt, tuple((Segment(text, 1.0),) for text in texts))
    if tokenizer.chat_template is None:
        raise BadData(
            f"{parsed.row.file}: expected a tokenizer with a chat template, because the data are "
            f"conversations, got '{tokenizer.name_or_path}' without one; set "
            "tokenizer.chat_template, or write the data as plain text"
        )
    answers = [_conversation(answer) for answer in parsed.answers]
    opened = all(answer[0]["role"] == "assistant" for answer in answers)
    prompt = _render(tokenizer, parsed.row, parsed.prompt, opened)
    segments = tuple(
        _segments(tokenizer, parsed, field, prompt, answer, opened)
        for field, answer in zip(parsed.fields, answers, strict=True)
    )
    return Draft(prompt, segments)


def _segments(
    tokenizer: Tokenizer,
    parsed: Parsed,
    field: str,
    prompt: str,
    answer: Conversation,
    opened: bool,
) -> tuple[Segment, ...]:
    before = _conversation(parsed.prompt)
    segments: list[Segment] = []
    done = prompt
    for turn, message in enumerate(answer):
        if message["role"] != "assistant":
            continue
        if turn or not opened:
            start = _render(tokenizer, parsed.row, before + answer[:turn], True)
            segments.append(Segment(_after(parsed.row, field, done, start), 0.0))
            done = start
        whole = _render(tokenizer, parsed.row, before + answer[: turn + 1], False)
        segments.append(Segment(_after(parsed.row, field, done, whole), 1.0))
        done = whole
    return tuple(segment for segment in segments if segment.text)


def _render(tokenizer: Tokenizer, row: Row, turns: Conversation, opened: bool) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=opened
            )
        )
    except _template_errors() as error:
        roles = ", ".join(str(turn["role"]) for turn in turns)
        raise row.bad(
            None,
            Reason.TEMPLATE,
            f"expected a conversation that the tokenizer's chat template accepts, got roles "
            f"{roles}, refused with: {error}; change the roles, or use another template",
        ) from None


@cache
def _template_errors() -> tuple[type[Exception], ...]:
    # transformers renders with jinja2; a tokenizer that renders by itself needs none.
    if importlib.util.find_spec("jinja2") is None:
        return ()
    from jinja2 import TemplateError

    return (TemplateError,)


def _after(row: Row, field: str, start: str, whole: str) -> str:
    """What `whole` adds to `start`."""
    if whole.startswith(start):
        return whole[len(start) :]
    same = next(
        (i for i, (a, b) in enumerate(zip(start, whole, strict=False)) if a != b), len(whole)
    )
    raise row.bad(
        field,
        Reason.NOT_A_PREFIX,
        f"expected the templated conversation to begin with the templated prompt, which goes on at "
        f"character {same} with {shown(start[same:], 30)}, got {shown(whole[same:], 30)} there; "
        "the chat template writes earlier turns anew when later ones come: use one that does not",
    )


def _conversation(content: Content) -> Conversation:
    assert not isinstance(content, str)  # a prompt of messages has answers of messages: `parse`
    return content
