"""`collimate.score_on_ray`: scores of data larger than memory, by workers that may die."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from collimate._checks import BadConfig, require_extra
from collimate._files import write_atomically
from collimate._types import Example
from collimate.data import BadRow, Encoded, Limits, stream_data
from collimate.data import Tokenizer as DataTokenizer
from collimate.engine.block import block_bytes, examples_of
from collimate.engine.cache import folder_of, mark_used
from collimate.engine.fingerprint import sequence_key
from collimate.engine.load import Tokenizer, generation_end_ids, quiet
from collimate.engine.model import context_of, vocabulary_of
from collimate.engine.segment import write_segment
from collimate.engine.shape import empty_model
from collimate.engine.store import KnownKeys, require_writable
from collimate.engine.tokenizer import load_tokenizer, other_tokens
from collimate.jobs import _ray
from collimate.jobs._console import Bar, Console
from collimate.jobs._parts import BAD_ROWS, PartsFolder
from collimate.jobs._scorer import ScorerSettings, survey
from collimate.jobs.score import require_one_model, say_what_is_missing
from collimate.jobs.settings import SCORE_SETTINGS, TrainSettings, settings_from

BLOCK_ROWS = 512
BLOCK_TOKENS = 2**18
"""Rows that a worker is given at a time, fewer where they are long: what its death costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """What `score_on_ray` did.

    out: the file of scores, None if only the cache was filled. rows: rows with scores. left_out:
    reason -> rows left out. blocks: blocks of rows; kept: those of them that an earlier, killed
    command had finished, or the cache held already.
    """

    out: Path | None
    rows: int
    left_out: Mapping[str, int]
    blocks: int
    kept: int


def score_on_ray(
    model: str | Path,
    data: Any,
    *,
    out: str | Path | None = None,
    tokenizer: str | Path | None = None,
    reference: str | Path | None = None,
    bad_rows: str | Path | None = None,
    cache: str | Path | None = None,
    tokens: bool = False,
    force: bool = False,
    address: str | None = None,
    workers: int | None = None,
    **settings: Any,
) -> ScoreSummary:
    """`collimate.score` for data larger than memory, to a file or the cache, by Ray: docs/scoring.md.

    Args:
        model: folder or `hub:owner/name`, which every worker loads.
        data: as `collimate.score` takes it; read as a stream, twice if the command is given again.
        out: JSON lines, one per usable row, in the order of the data; None: only fill the cache.
        tokenizer: folder or hub name; else the one beside the model.
        reference: a second model, for log-ratios.
        bad_rows: a file for rows left out; not there afterwards if there is none.
        cache: folder of reference log-probs to add the model's to (docs/cache.md).
        tokens: add the log-prob and the weight of each token.
        force: replace `out`, and discard finished parts of another scoring beside it.
        address: of a Ray cluster, `host:port` or `auto`; None: this machine alone.
        workers: processes with a model each; None: one per GPU, or per machine without.
        settings: those of `TrainSettings` that are in `SCORE_SETTINGS`; progress is off.

    Whatever is killed, worker, driver or machine: the same call goes on from the blocks that are
    done, in the folder `<out>.parts`. Each row's numbers are those of `collimate.score` up to
    float32 rounding. Errors: as `collimate.score`; BadRun for parts of another scoring, and where
    Ray cannot be reached or the workers die again and again; MissingExtra without Ray.

    Example:
        collimate.score_on_ray("path/to/model", "pairs.jsonl", out="scores.jsonl", workers=4)
    """
    options = settings_from({"progress": False, **settings}, *SCORE_SETTINGS)
    _require_sense(model, out=out, cache=cache, address=address, workers=workers)
    require_one_model(reference, cache)
    for package in ("ray", "pyarrow", "pandas"):
        require_extra(package, "ray")
    quiet()
    console = Console(enabled=options.progress)
    target, root = (None if path is None else Path(path).absolute() for path in (out, cache))
    if target is not None and target.exists() and not force:
        raise BadConfig(f"{target} exists: name another file, or replace it with force=True")
    parts = PartsFolder(_place(target, root, _named(data), str(model), str(settings)))
    trusted = options.trust_remote_code
    loaded_tokenizer = load_tokenizer(tokenizer, model, trust_remote_code=trusted)
    entries = _entries(model, loaded_tokenizer, data, options)
    with parts.held(), _ray.connected(address):
        pool = _ray.pool_on(_ray.machines(), workers=workers, device=options.device)
        told = ScorerSettings(
            options=options, threads=pool.cores, tokens=tokens, segments=root is not None
        )
        parts.begin()
        with console.bar("reading", total=None) as bar:
            cut = cut_blocks(entries, parts, bar=bar)
        looked = partial(survey, settings=told, longest=cut.longest, quantize=options.quantize)
        surveyed = _ray.call(partial(looked, _everywhere(model)), pool)
        other = None
        if reference is not None:
            other = replace(
                _ray.call(partial(looked, _everywhere(reference)), pool),
                other_tokens=other_tokens(loaded_tokenizer, reference, trust_remote_code=trusted),
            )
        folder = None if root is None else folder_of(root, surveyed.fingerprint)
        if folder is not None:
            require_writable(folder, surveyed.description)
        parts.require_same(
            {
                "model": surveyed.fingerprint,
                "reference": None if other is None else other.fingerprint,
                "data": cut.hash,
                "tokens": tokens,
                "cache": None if root is None else str(root),
            },
            force=force or target is None,  # what is done is known by the cache itself
        )
        say_what_is_missing(
            cut.skipped,
            answers_truncated=cut.answers_truncated,
            prompts_truncated=cut.prompts_truncated,
        )
        filled = set[int]() if folder is None else _filled(folder, parts, len(cut.rows))
        done = parts.done() if target is not None else filled
        for number in done:
            parts.block(number).unlink(missing_ok=True)
        left = {n: parts.block(n) for n in range(len(cut.rows)) if n not in done}
        kept = sum(cut.rows[number] for number in done)
        with console.bar("scoring", total=sum(cut.rows), done=kept) as bar:
            for block in _ray.scored(left, surveyed, other, told, pool) if left else ():
                if folder is not None and block.segment is not None and block.number not in filled:
                    write_segment(folder, block.segment)
                    mark_used(folder, surveyed.description)
                if target is not None:
                    parts.add(block.number, block.lines)
                bar.advance(cut.rows[block.number])
        _finish(target, parts, cut, None if bad_rows is None else Path(bad_rows))
        parts.remove()
    return ScoreSummary(
        out=None if out is None else Path(out),
        rows=sum(cut.rows),
        left_out=dict(cut.skipped),
        blocks=len(cut.rows),
        kept=len(done),
    )


def _everywhere(model: str | Path) -> str:
    """The model as a worker is told of it, which works in another folder, perhaps elsewhere."""
    named = str(model)
    return named if named.startswith("hub:") else str(Path(named).absolute())


@dataclass(slots=True, kw_only=True)
class Cut:
    """A stream of rows cut into blocks, and what is known about it.

    rows: of each block. hash: of all blocks, in order. longest: tokens of an example. skipped:
    reason -> rows left out.
    """

    rows: list[int] = field(default_factory=list[int])
    hash: str = ""
    longest: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    answers_truncated: int = 0
    prompts_truncated: int = 0


def cut_blocks(
    entries: Iterable[Encoded | BadRow],
    parts: PartsFolder,
    *,
    bar: Bar,
    block_rows: int | None = None,
) -> Cut:
    """Write a stream of rows to the folder's blocks and its bad rows beside them; one block in memory."""
    cut, digest, examples, tokens = Cut(), hashlib.sha256(), list[Example](), 0
    size = block_rows or BLOCK_ROWS

    def close() -> None:
        number, block = len(cut.rows), block_bytes(examples)
        digest.update(block)
        write_atomically(parts.block(number), block)  # whether it is done is known at the end
        cut.rows.append(len(examples))
        bar.advance(len(examples))
        examples.clear()

    with (parts.path / BAD_ROWS).open("w", encoding="utf-8") as bad:
        for entry in entries:
            if isinstance(entry, BadRow):
                cut.skipped[entry.reason.value] += 1
                bad.write(json.dumps(entry.record()) + "\n")
                continue
            cut.answers_truncated += entry.answers_truncated
            cut.prompts_truncated += entry.prompt_truncated
            more = entry.example.tokens
            if examples and (len(examples) == size or tokens + more > BLOCK_TOKENS):
                close()
                tokens = 0
            examples.append(entry.example)
            tokens, cut.longest = tokens + more, max(cut.longest, more)
        if examples:
            close()
    cut.hash = digest.hexdigest()
    return cut


def _entries(
    model: str | Path, tokenizer: Tokenizer, data: Any, options: TrainSettings
) -> Iterable[Encoded | BadRow]:
    """The rows as the model will read them; of the model only its config is read here."""
    shape = empty_model(model, trust_remote_code=options.trust_remote_code)
    return stream_data(
        data,
        cast(DataTokenizer, tokenizer),
        kind=None,
        limits=Limits(
            max_prompt=options.max_prompt,
            max_answer=options.max_answer,
            truncate_answers=options.truncate_answers,
            context=context_of(shape),
            vocab_size=vocabulary_of(shape),
        ),
        end_ids=generation_end_ids(shape),
        format=options.format,
        limit=options.limit,
        on_bad_row=options.on_bad_row,
    )


def _filled(folder: Path, parts: PartsFolder, count: int) -> set[int]:
    """The blocks whose every row the cache holds."""
    known = KnownKeys(folder)

    def holds(number: int) -> bool:
        examples = examples_of(parts.block(number).read_bytes())
        return all(sequence_key(e, a) in known for e in examples for a in e.answers)

    return {number for number in range(count) if holds(number)}


def _finish(out: Path | None, parts: PartsFolder, cut: Cut, bad_rows: Path | None) -> None:
    """Bad rows first: with `out` in its place nothing is left to be done."""
    if bad_rows is not None and cut.skipped:
        with (parts.path / BAD_ROWS).open("rb") as lines:
            write_atomically(bad_rows, lines)
    elif bad_rows is not None:
        bad_rows.unlink(missing_ok=True)
    if out is not None:
        write_atomically(out, parts.joined(len(cut.rows)))


def parts_beside(out: Path) -> Path:
    """The folder of finished parts of a file of scores.

    >>> parts_beside(Path("runs/scores.jsonl")).name
    'scores.jsonl.parts'
    """
    return out.with_name(f"{out.name}.parts")


def _place(out: Path | None, cache: Path | None, *inputs: str) -> Path:
    """Beside the file; of a cache that is filled, in it, by what the same command would name again."""
    if out is not None:
        return parts_beside(out)
    assert cache is not None  # `_require_sense`
    return cache / f"fill-{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]}.parts"


def _named(data: Any) -> str:
    return str(data) if isinstance(data, str | Path) else type(data).__name__


def _require_sense(
    model: object, *, out: object, cache: object, address: str | None, workers: int | None
) -> None:
    if out is None and cache is None:
        raise BadConfig(
            "scoring on Ray needs a place for what it finds: give --out (out=...), or fill the cache "
            "with --fill-cache (cache=...)"
        )
    if not isinstance(model, str | Path):
        raise BadConfig(
            f"the workers load the model themselves and cannot be given a {type(model).__name__}: save "
            "it, and give its folder or hub:owner/name"
        )
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise BadConfig(f"workers must be a whole number of at least 1, got {workers!r}")
    if address is not None and "://" in address:
        raise BadConfig(
            f"the Ray address must be host:port or auto, got '{address}': run this command on a machine "
            "of the cluster, so that the blocks it cuts can be read from there"
        )
