"""How a row is written, told by its columns, and what it can be read as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from collimate._checks import nearest
from collimate.data.bad_rows import Reason
from collimate.data.row import Row

Kind = Literal["preference", "triples", "thumbs", "lists"]
SUPPORTED = (
    "preference pairs (prompt, chosen, rejected; or chosen and rejected that begin with the same "
    "prompt), triples (pairs with gold), thumbs (prompt, completion, label) and lists (prompt, "
    "completions or responses, scores; or prompt, ranking, best first; or prompt, completion, score)"
)
SEVERAL = ("completions", "responses", "ranking")
"""The columns that hold the answers of a list, by preference."""

GOLD = ("gold", "reference")
"""The columns that a gold answer may stand in, by preference."""

_FIELDS = ("prompt", "chosen", "rejected", "completion", "label")
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
    "lists": "those of lists (plackett_luce, d2o, direct_advantage_po), and those of pairs; of single "
    "scored answers direct_advantage_po alone",
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


def kind_of(row: Row, kind: Kind | None) -> Kind:
    """How the row is written. Raises BadRow for a missing column, or where `kind` cannot be made of it.

    >>> kind_of(Row(index=0, values={"prompt": "2+2?", "ranking": ["4", "5"]}, file="a.jsonl"), None)
    'lists'
    """
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
        gold = next((name for name in GOLD if name in columns), GOLD[0])
        written = "prompt" in columns and isinstance(columns.get(GOLD[0]), str | list | tuple)
        if kind == "triples" or (kind is None and written):
            return "triples", ("chosen", "rejected", gold)
        return "preference", ("chosen", "rejected")
    if "ranking" in columns:
        return "lists", ("prompt", "ranking")
    several = next((name for name in SEVERAL if name in columns), None)
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


def _missing(row: Row, name: str) -> str:
    have = ", ".join(row.values) or "none"
    # A column that is used under its own name is no misspelling of another.
    hint = nearest(name, [column for column in row.values if column not in _FIELDS])
    return f"expected a column '{name}', got the columns {have}{hint}; rename or add the column"
