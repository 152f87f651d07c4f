"""Rows to `Example`s: template, tokenise, end, truncate, check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from collimate.data.assemble import Encoded, Pieces, assemble
from collimate.data.bad_rows import BadRow, Reason
from collimate.data.boundary import Boundary
from collimate.data.columns import check_known, known_numbers, read_numbers
from collimate.data.formats import Format, Kind
from collimate.data.limits import Limits
from collimate.data.parse import Parsed, parse
from collimate.data.row import Row
from collimate.data.templates import Draft, lay_out
from collimate.data.tokenizer import Edges, Tokenizer, encode_texts, find_edges

BATCH = 256  # rows tokenised in one call


def encode(
    rows: Iterable[Row | BadRow],
    tokenizer: Tokenizer,
    *,
    kind: Kind | None = "preference",
    limits: Limits | None = None,
    end_ids: int | Iterable[int] | None = None,
) -> Iterator[Encoded | BadRow]:
    """Each row as an `Example`, or the reason why not, in order; rows are taken in batches.

    Text: ids(prompt), begun with what the tokenizer itself puts before a text (often a
    beginning-of-sequence token, often nothing), then ids(answer), tokenised apart, nothing added
    but the end. Conversations: the chat template is the whole truth, nothing is put before it.
    An answer that does not end with the tokenizer's end-of-sequence token or one of `end_ids` (the
    generation config's eos_token_id) gets the tokenizer's appended; white space that a template
    writes after the last end is dropped, since a model stops before it, and gets weight 0 after an
    earlier one. The first readable row sets the format of all.
    Raises BadData for a tokenizer without an end or, with conversations, without a chat template.

    >>> from collimate.data.source import read_rows
    >>> from collimate.data.tokenizer import CharacterTokenizer
    >>> rows = read_rows([{"prompt": "2+2?", "chosen": "4", "rejected": "5", "margin": 0.5}])
    >>> (pair,) = encode(rows, CharacterTokenizer())
    >>> pair.example.answers[0].ids.tolist(), pair.example.columns
    ([52, 1114111], {'margin': 0.5})
    """
    edges = find_edges(tokenizer, end_ids)
    boundary = Boundary(tokenizer)
    first: _First | None = None
    stream = iter(rows)
    while batch := list(islice(stream, BATCH)):
        drafts: list[tuple[Parsed, dict[str, float], Draft] | BadRow] = []
        for row in batch:
            try:
                if isinstance(row, BadRow):
                    raise row
                parsed = parse(row, kind)
                numbers = read_numbers(row, parsed.used)
                first = first or _First(parsed.format, known_numbers(numbers), row)
                first.check(parsed, numbers)
                drafts.append((parsed, numbers, lay_out(tokenizer, parsed)))
            except BadRow as bad:
                drafts.append(bad)
        yield from _tokenised(drafts, tokenizer, edges, boundary, limits or Limits())


@dataclass(frozen=True, slots=True)
class _First:
    """What the first readable row sets for all others."""

    format: Format
    numbers: frozenset[str]
    row: Row

    def check(self, parsed: Parsed, numbers: dict[str, float]) -> None:
        if parsed.format != self.format:
            raise parsed.row.bad(
                None,
                Reason.MIXED,
                f"expected the format of row {self.row.index} ({self.format}), got "
                f"({parsed.format}); write all rows alike, or split the file by format",
            )
        check_known(parsed.row, numbers, self.numbers)


def _tokenised(
    drafts: Sequence[tuple[Parsed, dict[str, float], Draft] | BadRow],
    tokenizer: Tokenizer,
    edges: Edges,
    boundary: Boundary,
    limits: Limits,
) -> Iterator[Encoded | BadRow]:
    good = [entry[2] for entry in drafts if not isinstance(entry, BadRow)]
    texts = [text for draft in good for text in _texts(draft)]
    ids = iter(encode_texts(tokenizer, texts))
    differs = iter(boundary.differs(good))
    for entry in drafts:
        if isinstance(entry, BadRow):
            yield entry
            continue
        parsed, numbers, draft = entry
        pieces = Pieces(
            parsed=parsed,
            draft=draft,
            prompt=next(ids),
            answers=[[next(ids) for _ in answer] for answer in draft.answers],
            numbers=numbers,
            joint_differs=next(differs),
        )
        try:
            encoded = assemble(pieces, edges, limits, boundary)
        except BadRow as bad:
            yield bad
        else:
            yield encoded


def _texts(draft: Draft) -> Iterator[str]:
    yield draft.prompt
    for answer in draft.answers:
        for segment in answer:
            yield segment.text
