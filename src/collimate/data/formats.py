"""What a row says: which format it is in, its prompt and its answers, every field checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from collimate._checks import nearest
from collimate.data.bad_rows import Reason, shown
from collimate.data.prompts import Content, Conversation, Message, split_common, split_repeated
from collimate.data.row import Row

Kind = Literal["preference", "thumbs"]
SUPPORTED = (
    "preference pairs (prompt, chosen, rejected; or chosen and rejected that begin with the same "
    "prompt) and thumbs (prompt, completion, label)"
)
_FIELDS = ("prompt", "chosen", "rejected", "completion", "label")
_LISTS = ("responses", "completions", "ranking", "scores")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How rows are written. All rows of a source must have one format.

    kind: "preference" (chosen and rejected) or "thumbs" (one answer with a label).
    prompt: "explicit" column, or "implicit", the common beginning of the two answers.
    content: "text" or "conversational" (lists of messages with role and content).

    >>> str(Format(kind="preference", prompt="explicit", content="text"))
    'preference, explicit prompt'
    """

    kind: Kind
    prompt: Literal["explicit", "implicit"]
    content: Literal["text", "conversational"]

    def __str__(self) -> str:
        conversational = ", conversational" if self.content == "conversational" else ""
        return f"{self.kind}, {self.prompt} prompt{conversational}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A row understood: prompt and answers as text or as messages.

    answers, labels, fields: one entry per answer; a label is +1 wanted or -1 unwanted, a field the
    column the answer came from. used: the columns that were read.
    """

    row: Row
    format: Format
    prompt: Content
    answers: tuple[Content, ...]
    labels: tuple[int, ...]
    fields: tuple[str, ...]
    used: frozenset[str]


def parse(row: Row, kind: Kind) -> Parsed:
    """Read one row as a preference pair or as a thumb.

    Preference rows hold prompt, chosen and rejected; without prompt, it is the longest common
    beginning of the answers. A text prompt beside conversations that begin with it is taken as a
    copy. Thumbs hold prompt, completion and label (true or false, 1 or 0).
    Raises BadRow for a missing, null, empty or ill-typed field, invalid text, equal answers, and a
    row of another kind.

    >>> pair = parse(Row(index=0, values={"chosen": "Q: 2+2? A: 4", "rejected": "Q: 2+2? A: 5"},
    ...                  file="a.jsonl"), "preference")
    >>> pair.prompt, pair.answers
    ('Q: 2+2? A:', (' 4', ' 5'))
    """
    _check_kind(row, kind)
    return _preference(row) if kind == "preference" else _thumb(row)


def _check_kind(row: Row, kind: Kind) -> None:
    columns = row.values
    wanted = ("chosen", "rejected") if kind == "preference" else ("completion", "label")
    if any(name in columns for name in wanted):
        for name in wanted if kind == "preference" else (*wanted, "prompt"):
            if name not in columns:
                raise row.bad(name, Reason.MISSING_FIELD, _missing(row, name))
        return
    if "chosen" in columns or "completion" in columns:
        other = "preference pairs" if "chosen" in columns else "thumbs or single answers"
    elif any(name in columns for name in _LISTS):
        other = "lists of scored responses"
    elif "messages" in columns or "text" in columns:
        other = "single texts for supervised training"
    else:
        raise row.bad(wanted[0], Reason.MISSING_FIELD, _missing(row, wanted[0]))
    here = "preference pairs" if kind == "preference" else "thumbs"
    raise row.bad(
        None,
        Reason.UNSUPPORTED,
        f"expected {here} here ({', '.join(wanted)}), got the columns {', '.join(columns)}, which "
        f"look like {other}; what can be read now: {SUPPORTED}",
    )


def _missing(row: Row, name: str) -> str:
    have = ", ".join(row.values) or "none"
    # A column that is used under its own name is no misspelling of another.
    hint = nearest(name, [column for column in row.values if column not in _FIELDS])
    return f"expected a column '{name}', got the columns {have}{hint}; rename or add the column"


def _preference(row: Row) -> Parsed:
    chosen = _content(row, "chosen")
    rejected = _content(row, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise row.bad(
            "rejected",
            Reason.MIXED,
            f"expected both answers as text or both as messages, got chosen {shown(chosen)} and "
            f"rejected {shown(rejected)}; write them alike",
        )
    if chosen == rejected:
        raise row.bad(
            "rejected",
            Reason.EQUAL,
            f"expected another answer than chosen, got the same: {shown(chosen)}; such a pair "
            "teaches nothing: remove the row",
        )
    explicit = "prompt" in row.values
    if not explicit:
        prompt, chosen, rejected = split_common(row, chosen, rejected)
    else:
        prompt = _content(row, "prompt")
        if (
            isinstance(prompt, str)
            and not isinstance(chosen, str)
            and not isinstance(rejected, str)
        ):
            prompt, chosen, rejected = split_repeated(row, prompt, chosen, rejected)
        elif isinstance(prompt, str) != isinstance(chosen, str):
            raise row.bad("prompt", Reason.MIXED, _mixed_prompt(prompt, chosen))
    _check_messages(row, prompt)
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        _check_answer(row, field, answer)
    return Parsed(
        row=row,
        format=Format(
            kind="preference",
            prompt="explicit" if explicit else "implicit",
            content="text" if isinstance(chosen, str) else "conversational",
        ),
        prompt=prompt,
        answers=(chosen, rejected),
        labels=(1, -1),
        fields=("chosen", "rejected"),
        used=frozenset({"prompt", "chosen", "rejected"}),
    )


def _thumb(row: Row) -> Parsed:
    prompt, completion = _content(row, "prompt"), _content(row, "completion")
    if isinstance(prompt, str) != isinstance(completion, str):
        raise row.bad("prompt", Reason.MIXED, _mixed_prompt(prompt, completion))
    _check_messages(row, prompt)
    _check_answer(row, "completion", completion)
    return Parsed(
        row=row,
        format=Format(
            kind="thumbs",
            prompt="explicit",
            content="text" if isinstance(completion, str) else "conversational",
        ),
        prompt=prompt,
        answers=(completion,),
        labels=(_label(row),),
        fields=("completion",),
        used=frozenset({"prompt", "completion", "label"}),
    )


def _mixed_prompt(prompt: Content, answer: Content) -> str:
    return (
        f"expected prompt and answers all as text or all as messages, got prompt {shown(prompt)} "
        f"and answer {shown(answer)}; write them alike"
    )


def _label(row: Row) -> int:
    value = row.values["label"]
    if value is None:
        raise row.bad("label", Reason.NULL, "expected true or false, got null; remove the row")
    if not row.typed:
        value = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower(), value)
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return 1 if value else -1
    raise row.bad(
        "label",
        Reason.WRONG_TYPE,
        f"expected true or false (or 1 or 0), got {shown(value)}; a label says only wanted or not",
    )


def _content(row: Row, field: str) -> Content:
    """A field as text or as messages, every string in it valid."""
    value = row.values[field]
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


def _check_messages(row: Row, prompt: Content) -> None:
    # An empty text prompt is judged with the tokenizer, which may begin it with a token of its own.
    if not isinstance(prompt, str) and not prompt:
        raise row.bad(
            "prompt", Reason.EMPTY_PROMPT, "expected at least one message, got an empty list"
        )


def _check_answer(row: Row, field: str, answer: Content) -> None:
    if isinstance(answer, str):
        if not answer.strip():
            raise row.bad(
                field,
                Reason.EMPTY_ANSWER,
                f"expected an answer with at least one visible character, got {answer!r}; remove "
                "the row",
            )
        return
    _check_turns(row, field, answer)


def _check_turns(row: Row, field: str, answer: Conversation) -> None:
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
