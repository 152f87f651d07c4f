"""A source and a tokenizer in, checked examples and their facts out."""

from __future__ import annotations

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
from collimate.data.rows import Source, read_entries, source_name
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


def load_preferences(
    source: Source,
    tokenizer: Tokenizer,
    *,
    format: str = "auto",
    max_prompt: int | None = None,
    max_answer: int | None = None,
    truncate_answers: bool = False,
    on_bad_row: str = "stop",
    end_ids: int | Iterable[int] | None = None,
    vocab_size: int | None = None,
    context: int | None = None,
    limit: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Preference pairs: each example has two answers, chosen (label +1) and rejected (label -1).

    source, format, name: as `read_rows` takes them. tokenizer: a transformers tokenizer or anything
    like it. max_prompt, max_answer, truncate_answers, vocab_size, context: `Limits`, in tokens.
    end_ids: the generation config's eos_token_id. limit: read only so many rows. on_bad_row: "stop"
    raises the first bad row, "skip" counts and records them. progress: called with the number of
    rows read so far. Text is streamed; only token ids stay in memory.
    Raises BadRow or BadData with file, row, field, what was expected, what came and what to do;
    BadConfig for a setting outside its domain. If every row is bad, that is BadData too.

    >>> from collimate.data import ByteTokenizer
    >>> rows = [{"prompt": "2+2? ", "chosen": "4", "rejected": "5"},
    ...         {"prompt": "2+3? ", "chosen": "5", "rejected": ""}]
    >>> loaded = load_preferences(rows, ByteTokenizer(), on_bad_row="skip")
    >>> loaded.facts.used, loaded.facts.skipped
    (1, {'empty answer': 1})
    """
    limits = Limits(
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        context=context,
        vocab_size=vocab_size,
    )
    rows = _Rows(source, format, name, limit, progress)
    return _load(rows, tokenizer, "preference", limits, end_ids, on_bad_row)


def load_thumbs(
    source: Source,
    tokenizer: Tokenizer,
    *,
    format: str = "auto",
    max_prompt: int | None = None,
    max_answer: int | None = None,
    truncate_answers: bool = False,
    on_bad_row: str = "stop",
    end_ids: int | Iterable[int] | None = None,
    vocab_size: int | None = None,
    context: int | None = None,
    limit: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Single answers with a label: each example has one answer, wanted (+1) or unwanted (-1).

    Arguments and errors are those of `load_preferences`.

    >>> from collimate.data import ByteTokenizer
    >>> rows = [{"prompt": "2+2? ", "completion": "4", "label": True}]
    >>> load_thumbs(rows, ByteTokenizer()).examples[0].answers[0].label
    1
    """
    limits = Limits(
        max_prompt=max_prompt,
        max_answer=max_answer,
        truncate_answers=truncate_answers,
        context=context,
        vocab_size=vocab_size,
    )
    rows = _Rows(source, format, name, limit, progress)
    return _load(rows, tokenizer, "thumbs", limits, end_ids, on_bad_row)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the rows come from."""

    source: Source
    format: str
    name: str | None
    limit: int | None
    progress: Progress | None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise BadConfig(f"limit must be a whole number above 0, or None, got {self.limit!r}")

    @property
    def file(self) -> str:
        return self.name or source_name(self.source)


def _load(
    rows: _Rows,
    tokenizer: Tokenizer,
    kind: Kind,
    limits: Limits,
    end_ids: int | Iterable[int] | None,
    on_bad_row: str,
) -> Loaded:
    if on_bad_row not in ON_BAD_ROW:
        hint = nearest(str(on_bad_row), ON_BAD_ROW)
        raise BadConfig(f"on_bad_row must be 'stop' or 'skip', got {on_bad_row!r}{hint}")
    tally = Tally()
    examples: list[Example] = []
    records: list[dict[str, object]] = []
    entries = islice(read_entries(rows.source, format=rows.format, name=rows.name), rows.limit)
    stream = encode(entries, tokenizer, kind=kind, limits=limits, end_ids=end_ids)
    for entry in _reporting(stream, rows.progress):
        if isinstance(entry, BadRow):
            if on_bad_row == "stop":
                raise _with_way_out(entry)
            tally.skip(entry)
            records.append(entry.record())
        else:
            tally.add(entry)
            examples.append(entry.example)
    if not examples:
        reasons = ", ".join(f"{reason} {n}" for reason, n in tally.skipped.items())
        raise BadData(
            f"{rows.file}: expected at least one good row, got {len(records)} bad ones "
            f"({reasons}); the first: {records[0]['message']}"
        )
    kept = set(tally.kept_columns())
    if kept != tally.columns.keys():
        examples = [_with_columns(example, kept) for example in examples]
    if "weight" in kept and not any(example.columns["weight"] for example in examples):
        raise BadData(
            f"{rows.file}, field 'weight': expected a weight above 0 in at least one row, got 0 in "
            "all: nothing would be trained on; give weights or remove the column"
        )
    facts = tally.facts(file=rows.file, hash=content_hash(examples))
    return Loaded(examples=tuple(examples), facts=facts, bad_rows=tuple(records))


def _reporting(
    entries: Iterable[Encoded | BadRow], progress: Progress | None
) -> Iterator[Encoded | BadRow]:
    read = 0
    for entry in entries:
        yield entry
        read += 1
        if progress and read % BATCH == 0:
            progress(read)
    if progress and read % BATCH:
        progress(read)


def _with_columns(example: Example, kept: set[str]) -> Example:
    columns = {name: value for name, value in example.columns.items() if name in kept}
    return replace(example, columns=columns)


def _with_way_out(bad: BadRow) -> BadRow:
    bad.args = (
        f"{bad}. To leave bad rows out and count them: --on-bad-row skip (on_bad_row='skip')",
    )
    return bad
