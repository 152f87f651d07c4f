"""What a row says: which format it is in, its prompt and its answers, every field checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, cast

from collimate._checks import nearest
from collimate._types import Role
from collimate.data.bad_rows import Reason, shown
from collimate.data.prompts import Content, Conversation, Message, split_common, split_repeated
from collimate.data.row import Row

Kind = Literal["preference", "triples", "thumbs", "lists"]
SUPPORTED = (
    "preference pairs (prompt, chosen, rejected; or chosen and rejected that begin with the same "
    "prompt), triples (pairs with gold), thumbs (prompt, completion, label) and lists (prompt, "
    "completions or responses, scores; or prompt, ranking, best first; or prompt, completion, score)"
)
_FIELDS = ("prompt", "chosen", "rejected", "completion", "label")
_SEVERAL = ("completions", "responses", "ranking")
_GOLD = ("gold", "reference")
_NAMES: Mapping[Kind, str] = {
    "preference": "preference pairs",
    "triples": "preference pairs with a gold answer",
    "thumbs": "thumbs",
    "lists": "lists of scored responses",
}
_FITTING: Mapping[Kind, str] = {
    "preference": "any but those of gold answers, as dpo",
    "triples": "tpo, tpo_l",
    "thumbs": "those of thumbs: kto, bco, apo_zero_unpaired",
    "lists": "those of lists (plackett_luce, d2o, direct_advantage_po), and those of pairs",
}
"""Which methods can be trained on what is written so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How rows are written. All rows of a source must have one format.

    kind: "preference" (chosen and rejected), "triples" (and gold), "thumbs" (one answer with a label)
    or "lists" (scored answers). read_as: what it was made into, mostly itself.
    prompt: "explicit" column, or "implicit", the common beginning of the two answers.
    content: "text" or "conversational" (lists of messages with role and content).

    >>> str(Format(kind="preference", read_as="preference", prompt="explicit", content="text"))
    'preference, explicit prompt'
    >>> str(Format(kind="lists", read_as="preference", prompt="explicit", content="text"))
    'lists, explicit prompt, read as preference: the best answer against the worst'
    """

    kind: Kind
    read_as: Kind
    prompt: Literal["explicit", "implicit"]
    content: Literal["text", "conversational"]

    def __str__(self) -> str:
        conversational = ", conversational" if self.content == "conversational" else ""
        how = _CONVERSIONS.get((self.kind, self.read_as))
        converted = "" if how is None else f", read as {self.read_as}: {how}"
        return f"{self.kind}, {self.prompt} prompt{conversational}{converted}"


_CONVERSIONS: Mapping[tuple[Kind, Kind], str] = {
    ("preference", "thumbs"): "both answers of a pair, labelled, in the same step",
    ("preference", "lists"): "lists of two, scored 1 and 0",
    ("lists", "preference"): "the best answer against the worst",
}
"""The conversions that lose no more than they say; others would make a judgement up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A row understood: prompt and answers as text or as messages.

    answers, fields, labels, scores, roles: one entry per answer; a field is the column the answer came
    from, a label +1 wanted or -1 unwanted, a score larger for better ones; None where not known. used:
    the columns that were read.
    """

    row: Row
    format: Format
    prompt: Content
    answers: tuple[Content, ...]
    fields: tuple[str, ...]
    labels: tuple[int | None, ...]
    scores: tuple[float | None, ...]
    roles: tuple[Role, ...]
    used: frozenset[str]


def parse(row: Row, kind: Kind | None) -> Parsed:
    """Read one row as what a method needs: a preference pair, a triple, a thumb, a list; None: as it is.

    Preference rows hold prompt, chosen and rejected; without prompt, it is the longest common
    beginning of the answers. A text prompt beside conversations that begin with it is taken as a
    copy. Triples have gold too. Thumbs hold prompt, completion and label (true or false, 1 or 0).
    Lists hold prompt, completions (or responses) and scores; or prompt and ranking, the best first;
    or prompt, completion and score, one of a list. Pairs can be read as thumbs or lists, lists as
    pairs.
    Raises BadRow for a missing, null, empty or ill-typed field, invalid text, equal answers, and a
    row that cannot be read so.

    >>> pair = parse(Row(index=0, values={"chosen": "Q: 2+2? A: 4", "rejected": "Q: 2+2? A: 5"},
    ...                  file="a.jsonl"), "preference")
    >>> pair.prompt, pair.answers
    ('Q: 2+2? A:', (' 4', ' 5'))
    """
    own = _own_kind(row, kind)
    parsed = {"preference": _preference, "triples": _triple, "thumbs": _thumb, "lists": _list}[own](
        row
    )
    return parsed if kind is None or kind == own else _as_kind(parsed, kind)


def _own_kind(row: Row, kind: Kind | None) -> Kind:
    """How the row is written. BadRow where a column is missing, or it cannot be read as `kind`."""
    columns = row.values
    own, wanted = _guess(row, kind)
    if kind is not None and own != kind and (own, kind) not in _CONVERSIONS:
        raise row.bad(
            None,
            Reason.UNSUPPORTED,
            f"expected {_NAMES[kind]} here, got the columns {', '.join(columns)}, which look like "
            f"{_NAMES[own]}; methods that fit those: {_FITTING[own]}; what can be read: {SUPPORTED}",
        )
    for name in wanted:
        if name not in columns:
            raise row.bad(name, Reason.MISSING_FIELD, _missing(row, name))
    return own


def _guess(row: Row, kind: Kind | None) -> tuple[Kind, tuple[str, ...]]:
    """The kind that the columns look like, and the columns that it must have."""
    columns = row.values
    if "chosen" in columns or "rejected" in columns:
        gold = next((name for name in _GOLD if name in columns), _GOLD[0])
        written = "prompt" in columns and isinstance(columns.get(_GOLD[0]), str | list | tuple)
        if kind == "triples" or (kind is None and written):
            return "triples", ("chosen", "rejected", gold)
        return "preference", ("chosen", "rejected")
    if "ranking" in columns:
        return "lists", ("prompt", "ranking")
    several = next((name for name in _SEVERAL if name in columns), None)
    if several is not None:
        return "lists", ("prompt", several, "scores")
    if "completion" in columns and "score" in columns and "label" not in columns:
        return "lists", ("prompt", "completion", "score")
    if "completion" in columns or "label" in columns:
        return "thumbs", ("completion", "label", "prompt")
    if "messages" in columns or "text" in columns:
        raise row.bad(
            None,
            Reason.UNSUPPORTED,
            f"expected judged answers, got the columns {', '.join(columns)}, which look like single "
            f"texts for supervised training; what can be read: {SUPPORTED}",
        )
    first: dict[Kind | None, str] = {"thumbs": "completion", "lists": "completions"}
    name = first.get(kind, "chosen")
    raise row.bad(name, Reason.MISSING_FIELD, _missing(row, name))


def _as_kind(parsed: Parsed, kind: Kind) -> Parsed:
    """One of `_CONVERSIONS`."""
    changed = replace(parsed, format=replace(parsed.format, read_as=kind))
    if kind == "lists":
        return replace(changed, labels=(None, None), scores=(1.0, 0.0))
    if kind == "thumbs":
        return changed
    scores = [score for score in parsed.scores if score is not None]
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    if best == worst:
        raise parsed.row.bad(
            None,
            Reason.EQUAL,
            f"expected answers of different scores to make a pair of, got {shown(scores)}; such a list "
            "teaches a method of pairs nothing: remove the row",
        )
    return replace(
        changed,
        answers=(parsed.answers[best], parsed.answers[worst]),
        fields=(parsed.fields[best], parsed.fields[worst]),
        labels=(1, -1),
        scores=(scores[best], scores[worst]),
        roles=parsed.roles[:2],
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
            read_as="preference",
            prompt="explicit" if explicit else "implicit",
            content="text" if isinstance(chosen, str) else "conversational",
        ),
        prompt=prompt,
        answers=(chosen, rejected),
        fields=("chosen", "rejected"),
        labels=(1, -1),
        scores=(None, None),
        roles=(Role.ANSWER, Role.ANSWER),
        used=frozenset({"prompt", "chosen", "rejected"}),
    )


def _triple(row: Row) -> Parsed:
    name = next(name for name in _GOLD if name in row.values)
    pair, gold = _preference(row), _content(row, name)
    if pair.format.prompt == "implicit":
        raise row.bad(
            "prompt",
            Reason.MISSING_FIELD,
            f"expected a column 'prompt' beside '{name}', got none: what the answers have in common may "
            "not be what the gold answer follows; write the prompt in a column of its own",
        )
    if isinstance(gold, str) != isinstance(pair.answers[0], str):
        raise row.bad(name, Reason.MIXED, _mixed_prompt(pair.prompt, gold))
    _check_answer(row, name, gold)
    if not isinstance(gold, str) and gold[0]["role"] != "assistant":
        raise row.bad(
            name,
            Reason.MIXED,
            f"expected the gold answer alone, beginning with a turn of the assistant, got one that "
            f"begins with role {gold[0]['role']!r}: leave the prompt's messages out of it",
        )
    return replace(
        pair,
        format=replace(pair.format, kind="triples", read_as="triples"),
        answers=(*pair.answers, gold),
        fields=(*pair.fields, name),
        labels=(*pair.labels, None),
        scores=(None,) * 3,
        roles=(*pair.roles, Role.GOLD),
        used=pair.used | {name},
    )


def _list(row: Row) -> Parsed:
    prompt = _content(row, "prompt")
    name = next(name for name in (*_SEVERAL, "completion") if name in row.values)
    scored = {"completion": "score", "ranking": ""}.get(name, "scores")
    if name == "completion":
        answers, fields = [_content(row, name)], [name]
        scores = [_score(row, "score", row.values["score"])]
    else:
        found = _items(row, name)
        fields = [f"{name}[{i}]" for i in range(len(found))]
        answers = [_content_of(row, field, item) for field, item in zip(fields, found, strict=True)]
        scores = [float(-i) for i in range(len(found))] if name == "ranking" else _scores(row, name)
    _check_messages(row, prompt)
    for field, answer in zip(fields, answers, strict=True):
        if isinstance(prompt, str) != isinstance(answer, str):
            raise row.bad(field, Reason.MIXED, _mixed_prompt(prompt, answer))
        _check_answer(row, field, answer)
    return Parsed(
        row=row,
        format=Format(
            kind="lists",
            read_as="lists",
            prompt="explicit",
            content="text" if isinstance(prompt, str) else "conversational",
        ),
        prompt=prompt,
        answers=tuple(answers),
        fields=tuple(fields),
        labels=(None,) * len(answers),
        scores=tuple(scores),
        roles=(Role.ANSWER,) * len(answers),
        used=frozenset({"prompt", name, scored}) - {""},
    )


def _items(row: Row, name: str) -> list[object]:
    value = row.values[name]
    if isinstance(value, list | tuple) and value:
        return list(cast("list[object] | tuple[object, ...]", value))
    raise row.bad(
        name,
        Reason.NULL if value is None else Reason.WRONG_TYPE,
        f"expected a list with one answer or more, got {shown(value)}",
    )


def _scores(row: Row, name: str) -> list[float]:
    scores, answers = _items(row, "scores"), _items(row, name)
    if len(scores) != len(answers):
        raise row.bad(
            "scores",
            Reason.WRONG_TYPE,
            f"expected a score for each of the {len(answers)} {name}, got {len(scores)}",
        )
    return [_score(row, "scores", value) for value in scores]


def _score(row: Row, field: str, value: object) -> float:
    if not row.typed and isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise row.bad(
            field,
            Reason.NULL if value is None else Reason.WRONG_TYPE,
            f"expected a finite number, larger for a better answer, got {shown(value)}",
        )
    return float(value)


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
            read_as="thumbs",
            prompt="explicit",
            content="text" if isinstance(completion, str) else "conversational",
        ),
        prompt=prompt,
        answers=(completion,),
        fields=("completion",),
        labels=(_label(row),),
        scores=(None,),
        roles=(Role.ANSWER,),
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
    return _content_of(row, field, row.values[field])


def _content_of(row: Row, field: str, value: object) -> Content:
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
