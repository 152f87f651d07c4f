"""A source and a tokenizer in, checked examples and their facts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from collimate._checks import BadConfig, BadData, nearest
from collimate._types import Example
from collimate.data.assemble import Encoded
from collimate.data.bad_rows import BadRow
from collimate.data.encode import BATCH, encode
from collimate.data.facts import Facts, content_hash
from collimate.data.formats import Kind
from collimate.data.limits import Limits
from collimate.data.source import Source, read_entries, source_name
from collimate.data.tally import Tally
from collimate.data.tokenizer import Tokenizer

ON_BAD_ROW = ("stop", "skip")
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A data set ready for the engine.

    examples: in the order of the rows. facts: what is known about them. bad_rows: the records for
    `bad_rows.jsonl` (file, row, field, reason, message), empty unless bad rows were skipped.
    """

    examples: tuple[Example, ...]
    facts: Facts
    bad_rows: tuple[dict[str, object], ...]

    def __len__(self) -> int:
        return len(self.examples)


def load_data(
    source: Source,
    tokenizer: Tokenizer,
    *,
    kind: Kind | None = "preference",
    limits: Limits | None = None,
    end_ids: int | Iterable[int] | None = None,
    format: str = "auto",
    name: str | None = None,
    limit: int | None = None,
    on_bad_row: str = "stop",
    progress: Progress | None = None,
) -> Loaded:
    """The examples of a source, and what is known about them. Text is streamed, token ids are kept.

    source, format, name: as `read_rows` takes them. tokenizer: a transformers tokenizer or anything
    like it. kind: "preference", two answers, chosen (label +1) and rejected (label -1); "triples", and
    a gold one; "thumbs", answers that are wanted (+1) or unwanted (-1); "lists", scored answers; None:
    as the rows are written. limits: on lengths, in tokens. end_ids: the generation
    config's eos_token_id. limit: read only so many rows. on_bad_row: "stop" raises the first bad
    row, "skip" counts and records them. progress: called now and then with the number of rows read
    since the last call.
    Raises BadRow or BadData with file, row, field, what was expected, what came and what to do;
    BadConfig for a setting outside its domain. If every row is bad, that is BadData too.

    >>> from collimate.data import CharacterTokenizer
    >>> rows = [{"prompt": "2+2? ", "chosen": "4", "rejected": "5"},
    ...         {"prompt": "2+3? ", "chosen": "5", "rejected": ""}]
    >>> loaded = load_data(rows, CharacterTokenizer(), on_bad_row="skip")
    >>> loaded.facts.used, loaded.facts.skipped
    (1, {'empty answer': 1})
    """
    tally = Tally()
    examples: list[Example] = []
    records: list[dict[str, object]] = []
    entries = stream_data(
        source,
        tokenizer,
        kind=kind,
        limits=limits,
        end_ids=end_ids,
        format=format,
        name=name,
        limit=limit,
        on_bad_row=on_bad_row,
    )
    for entry in _reporting(entries, progress):
        if isinstance(entry, BadRow):
            tally.skip(entry)
            records.append(entry.record())
        else:
            tally.add(entry)
            examples.append(entry.example)
    kept = set(tally.kept_columns())
    if kept != tally.columns.keys():
        examples = [_with_columns(example, kept) for example in examples]
    facts = tally.facts(file=name or source_name(source), hash=content_hash(examples))
    return Loaded(examples=tuple(examples), facts=facts, bad_rows=tuple(records))


def stream_data(
    source: Source,
    tokenizer: Tokenizer,
    *,
    kind: Kind | None = "preference",
    limits: Limits | None = None,
    end_ids: int | Iterable[int] | None = None,
    format: str = "auto",
    name: str | None = None,
    limit: int | None = None,
    on_bad_row: str = "stop",
) -> Iterator[Encoded | BadRow]:
    """What `load_data` loads, one entry at a time, and nothing kept: each example, each skipped row.

    Arguments and errors are those of `load_data`; what only the last row can show (every row is
    bad, every weight is 0) is raised after it.
    """
    if limit is not None and limit < 1:
        raise BadConfig(f"limit must be a whole number above 0, or None, got {limit!r}")
    if on_bad_row not in ON_BAD_ROW:
        hint = nearest(str(on_bad_row), ON_BAD_ROW)
        raise BadConfig(f"on_bad_row must be 'stop' or 'skip', got {on_bad_row!r}{hint}")
    file = name or source_name(source)
    skipped = Counter[str]()
    first: BadRow | None = None
    used, weights = 0, set[bool]()
    rows = islice(read_entries(source, format=format, name=name), limit)
    for entry in encode(rows, tokenizer, kind=kind, limits=limits, end_ids=end_ids):
        if isinstance(entry, BadRow):
            if on_bad_row == "stop":
                raise _with_way_out(entry)
            first = first or entry
            skipped[entry.reason.value] += 1
        else:
            used += 1
            if "weight" in entry.example.columns:  # of every row or of none: `check_known`
                weights.add(entry.example.columns["weight"] > 0)
        yield entry
    if first is not None and not used:
        reasons = ", ".join(f"{reason} {n}" for reason, n in skipped.items())
        raise BadData(
            f"{file}: expected at least one good row, got {skipped.total()} bad ones "
            f"({reasons}); the first: {first}"
        )
    if weights == {False}:
        raise BadData(
            f"{file}, field 'weight': expected a weight above 0 in at least one row, got 0 in "
            "all: nothing would be trained on; give weights or remove the column"
        )


def _reporting(
    entries: Iterable[Encoded | BadRow], progress: Progress | None
) -> Iterator[Encoded | BadRow]:
    new = 0
    for entry in entries:
        yield entry
        new += 1
        if progress and new == BATCH:
            progress(new)
            new = 0
    if progress and new:
        progress(new)


def _with_columns(example: Example, kept: set[str]) -> Example:
    columns = {name: value for name, value in example.columns.items() if name in kept}
    return replace(example, columns=columns)


def _with_way_out(bad: BadRow) -> BadRow:
    bad.args = (
        f"{bad}. To leave bad rows out and count them: --on-bad-row skip (on_bad_row='skip')",
    )
    return bad
