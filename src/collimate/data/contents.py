"""Prompts and answers as a row holds them: text or messages, valid, and fit for their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from collimate.data.bad_rows import Reason, shown
from collimate.data.prompts import Content, Conversation, Message
from collimate.data.row import Row


def content(row: Row, field: str) -> Content:
    """A field as text or as messages, every string in it valid.

    Raises BadRow for null, what is neither, and half of a character.

    >>> content(Row(index=0, values={"prompt": "2+2?"}, file="a.jsonl"), "prompt")
    '2+2?'
    """
    return content_of(row, field, row.values[field])


def content_of(row: Row, field: str, value: object) -> Content:
    """A value that stands in `field` as text or as messages. Raises BadRow as `content` does.

    >>> row = Row(index=0, values={}, file="a.jsonl")
    >>> content_of(row, "ranking[0]", [{"role": "assistant", "content": "4"}])
    ({'role': 'assistant', 'content': '4'},)
    """
    if value is None:
        raise row.bad(field, Reason.NULL, "expected text or messages, got null; fill it or remove")
    if isinstance(value, str):
        return _valid(row, field, value)
    if isinstance(value, list | tuple):
        messages = cast("list[object] | tuple[object, ...]", value)
        return tuple(_message(row, field, item) for item in messages)
    raise row.bad(
        field,
        Reason.WRONG_TYPE,
        f"expected text, or a list of messages with role and content, got {shown(value)}",
    )


def _message(row: Row, field: str, item: object) -> Message:
    if not isinstance(item, Mapping):
        raise row.bad(
            field,
            Reason.WRONG_TYPE,
            f'expected messages like {{"role": "user", "content": "..."}}, got {shown(item)}',
        )
    # Tables give every message every key that any message has; a null one was not written.
    given = cast("Mapping[str, object]", item)
    message = {key: value for key, value in given.items() if value is not None}
    for key in ("role", "content"):
        if not isinstance(message.get(key), str):
            raise row.bad(
                field,
                Reason.WRONG_TYPE,
                f"expected a text '{key}' in each message, got {shown(item)}; only messages of "
                "plain text can be read",
            )
        _valid(row, field, cast(str, message[key]))
    return message


def _valid(row: Row, field: str, text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise row.bad(
            field,
            Reason.SURROGATE,
            f"expected valid text, got the lone surrogate U+{ord(text[error.start]):04X} at "
            f"character {error.start}; half of a character was cut off: mend or remove the row",
        ) from None
    return text


def require_alike(row: Row, field: str, prompt: Content, answer: Content) -> None:
    """Raises BadRow about `field` where one is text and the other messages.

    >>> require_alike(Row(index=0, values={}, file="a.jsonl"), "prompt", "2+2?", "4")
    """
    if isinstance(prompt, str) != isinstance(answer, str):
        raise row.bad(
            field,
            Reason.MIXED,
            f"expected prompt and answers all as text or all as messages, got prompt {shown(prompt)} "
            f"and answer {shown(answer)}; write them alike",
        )


def require_prompt(row: Row, prompt: Content) -> None:
    """Raises BadRow for a conversation without a message.

    An empty text is judged with the tokenizer, which may begin it with a token of its own.

    >>> require_prompt(Row(index=0, values={}, file="a.jsonl"), "")
    """
    if not isinstance(prompt, str) and not prompt:
        raise row.bad(
            "prompt", Reason.EMPTY_PROMPT, "expected at least one message, got an empty list"
        )


def require_answer(row: Row, field: str, answer: Content) -> None:
    """Raises BadRow for nothing visible, and for messages whose last is not the assistant's.

    >>> require_answer(Row(index=0, values={}, file="a.jsonl"), "chosen", " 4")
    """
    if isinstance(answer, str):
        if not answer.strip():
            raise row.bad(
                field,
                Reason.EMPTY_ANSWER,
                f"expected an answer with at least one visible character, got {answer!r}; remove "
                "the row",
            )
        return
    _require_turns(row, field, answer)


def _require_turns(row: Row, field: str, answer: Conversation) -> None:
    if not answer:
        raise row.bad(
            field, Reason.EMPTY_ANSWER, "expected at least one message after the prompt, got none"
        )
    if answer[-1]["role"] != "assistant":
        raise row.bad(
            field,
            Reason.WRONG_TYPE,
            f"expected an answer that ends with a turn of the assistant, got one that ends with "
            f"role {answer[-1]['role']!r}; cut what follows the last answer",
        )
    for message in answer:
        if message["role"] == "assistant" and not str(message["content"]).strip():
            raise row.bad(
                field,
                Reason.EMPTY_ANSWER,
                "expected content in each turn of the assistant, got an empty one; remove the row",
            )
