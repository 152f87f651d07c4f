"""What a row says: its prompt and its judged answers, every field checked."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from collimate._types import Role
from collimate.data.bad_rows import Reason, shown
from collimate.data.contents import (
    content,
    content_of,
    require_alike,
    require_answer,
    require_prompt,
)
from collimate.data.formats import GOLD, SEVERAL, Format, Kind, kind_of
from collimate.data.judgements import items, label, score, scores
from collimate.data.prompts import Content, split_common, split_repeated
from collimate.data.row import Row


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
    own = kind_of(row, kind)
    parsed = {"preference": _preference, "triples": _triple, "thumbs": _thumb, "lists": _list}[own](
        row
    )
    return parsed if kind is None or kind == own else _as_kind(parsed, kind)


def _as_kind(parsed: Parsed, kind: Kind) -> Parsed:
    """One of the conversions."""
    changed = replace(parsed, format=replace(parsed.format, read_as=kind))
    if kind == "lists":
        return replace(changed, labels=(None, None), scores=(1.0, 0.0))
    if kind == "thumbs":
        return changed
    known = [one for one in parsed.scores if one is not None]
    if len(known) < 2:
        raise parsed.row.bad(
            None,
            Reason.UNSUPPORTED,
            "expected two scored answers to make a pair of, got one; a single score is read by "
            "direct_advantage_po alone: use it, or give each prompt several answers in one row",
        )
    best, worst = known.index(max(known)), known.index(min(known))
    if best == worst:
        raise parsed.row.bad(
            None,
            Reason.EQUAL,
            f"expected answers of different scores to make a pair of, got {shown(known)}; such a list "
            "teaches a method of pairs nothing: remove the row",
        )
    return replace(
        changed,
        answers=(parsed.answers[best], parsed.answers[worst]),
        fields=(parsed.fields[best], parsed.fields[worst]),
        labels=(1, -1),
        scores=(known[best], known[worst]),
        roles=parsed.roles[:2],
    )


def _preference(row: Row) -> Parsed:
    chosen = content(row, "chosen")
    rejected = content(row, "rejected")
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
        prompt = content(row, "prompt")
        if (
            isinstance(prompt, str)
            and not isinstance(chosen, str)
            and not isinstance(rejected, str)
        ):
            prompt, chosen, rejected = split_repeated(row, prompt, chosen, rejected)
        require_alike(row, "prompt", prompt, chosen)
    require_prompt(row, prompt)
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        require_answer(row, field, answer)
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
    name = next(name for name in GOLD if name in row.values)
    pair, gold = _preference(row), content(row, name)
    if pair.format.prompt == "implicit":
        raise row.bad(
            "prompt",
            Reason.MISSING_FIELD,
            f"expected a column 'prompt' beside '{name}', got none: what the answers have in common may "
            "not be what the gold answer follows; write the prompt in a column of its own",
        )
    require_alike(row, name, pair.prompt, gold)
    require_answer(row, name, gold)
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
    prompt = content(row, "prompt")
    name = next(name for name in (*SEVERAL, "completion") if name in row.values)
    if name == "completion":
        answers, fields = [content(row, name)], [name]
        judged = [score(row, "score", row.values["score"])]
    else:
        found = items(row, name)
        fields = [f"{name}[{i}]" for i in range(len(found))]
        answers = [content_of(row, field, item) for field, item in zip(fields, found, strict=True)]
        judged = [float(-i) for i in range(len(found))] if name == "ranking" else scores(row, name)
    require_prompt(row, prompt)
    for field, answer in zip(fields, answers, strict=True):
        require_alike(row, field, prompt, answer)
        require_answer(row, field, answer)
    scored = {"completion": {"score"}, "ranking": set[str]()}.get(name, {"scores"})
    return _judged(row, "lists", prompt, answers, fields, scores=judged, used={name, *scored})


def _thumb(row: Row) -> Parsed:
    prompt, completion = content(row, "prompt"), content(row, "completion")
    require_alike(row, "prompt", prompt, completion)
    require_prompt(row, prompt)
    require_answer(row, "completion", completion)
    return _judged(
        row,
        "thumbs",
        prompt,
        [completion],
        ["completion"],
        labels=[label(row)],
        used={"completion", "label"},
    )


def _judged(
    row: Row,
    kind: Kind,
    prompt: Content,
    answers: Sequence[Content],
    fields: Sequence[str],
    *,
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    used: AbstractSet[str],
) -> Parsed:
    """Answers beside a prompt of its own, each judged alone. used: columns beside the prompt's."""
    unknown = (None,) * len(answers)
    return Parsed(
        row=row,
        format=Format(
            kind=kind,
            read_as=kind,
            prompt="explicit",
            content="text" if isinstance(prompt, str) else "conversational",
        ),
        prompt=prompt,
        answers=tuple(answers),
        fields=tuple(fields),
        labels=unknown if labels is None else tuple(labels),
        scores=unknown if scores is None else tuple(scores),
        roles=(Role.ANSWER,) * len(answers),
        used=frozenset({"prompt", *used}),
    )
