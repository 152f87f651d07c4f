"""The explorer's questions against sorted and filtered Python lists; the reader against the writer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadConfig, BadRun
from collimate.board import tokens
from collimate.board.pairs import BOUNDED, answer, question, ranges
from collimate.report import Pairs, load_pairs, suspects
from tests.board.folders import ANSWERS, COLUMNS, QUESTIONS, made_up, make_pairs, tokenizer

VALUES = st.sampled_from([math.nan, -1.5, -1.0, 0.0, 0.5, 2.0]) | st.floats(-3, 3, width=16)
NAMES = (
    *("loss", "margin", "log_ratio_chosen", "log_ratio_rejected", "chosen_tokens", "row"),
    *("log_prob_chosen", "start_log_prob_chosen"),
)
SHOWN = NAMES[:-1]
SORTS = (*SHOWN, "displacement", "gap", "ches")  # the last is a column that the run does not have


TABLES = st.lists(st.tuples(*[VALUES] * len(NAMES)), max_size=12)


def pairs_of(lines: list[tuple[float, ...]]) -> Pairs:
    table = np.array(lines, dtype=np.float64).reshape(len(lines), len(NAMES))
    return Pairs(folder=Path("run"), columns=NAMES, table=table)


def values_of(pairs: Pairs, name: str) -> list[float]:
    """A column as a list, derived ones by their definition."""
    lines = [dict(zip(NAMES, line, strict=True)) for line in pairs.table.tolist()]
    if name == "gap":
        return [line["log_ratio_chosen"] - line["log_ratio_rejected"] for line in lines]
    if name == "displacement":
        return [line["log_prob_chosen"] - line["start_log_prob_chosen"] for line in lines]
    return [line.get(name, math.nan) for line in lines]


@given(lines=TABLES, sort=st.sampled_from(SORTS), descending=st.booleans(),
       bounds=st.dictionaries(st.sampled_from(SORTS), st.tuples(VALUES, VALUES), max_size=2))  # fmt: skip
def test_sorting_and_filtering_are_what_lists_give(
    lines: list[Any], sort: str, descending: bool, bounds: dict[str, tuple[float, float]]
) -> None:
    pairs = pairs_of(lines)
    asked = {"sort": sort, "descending": str(int(descending))}
    for name, (low, high) in bounds.items():
        asked |= {f"min_{name}": str(low)} if math.isfinite(low) else {}
        asked |= {f"max_{name}": str(high)} if math.isfinite(high) else {}
    kept = [
        index
        for index in range(len(pairs))
        if all(
            (math.isnan(low) or values_of(pairs, name)[index] >= low)
            and (math.isnan(high) or values_of(pairs, name)[index] <= high)
            for name, (low, high) in bounds.items()
        )
    ]
    values = values_of(pairs, sort)
    known = [index for index in kept if not math.isnan(values[index])]
    unknown = [index for index in kept if math.isnan(values[index])]
    ordered = sorted(known, key=lambda index: -values[index] if descending else values[index])
    assert answer(pairs, question(asked)).tolist() == ordered + unknown


@pytest.mark.parametrize("descending", ["0", "1"])
def test_equal_values_stay_in_the_order_of_the_data(descending: str) -> None:
    """Of many, because short lists are sorted otherwise."""
    values = np.arange(3000.0)[:, None] % 3
    pairs = Pairs(folder=Path("run"), columns=("loss",), table=values)
    found = answer(pairs, question({"sort": "loss", "descending": descending}))
    for part in found.reshape(3, 1000):
        assert (np.diff(part) == 3).all()


@given(lines=TABLES, sort=st.sampled_from(SORTS), limit=st.integers(1, 5))
def test_pages_are_the_whole_list_in_parts(lines: list[Any], sort: str, limit: int) -> None:
    pairs = pairs_of(lines)
    whole = answer(pairs, question({"sort": sort}))
    parts = [whole[at : at + limit] for at in range(0, len(whole), limit)]
    assert np.concatenate([*parts, np.array([], dtype=int)]).tolist() == whole.tolist()
    assert sorted(whole.tolist()) == list(range(len(pairs)))


@given(lines=TABLES)
def test_ranges_hold_every_known_value(lines: list[Any]) -> None:
    pairs = pairs_of(lines)
    found = ranges(pairs)
    for name in SHOWN:
        known = [value for value in values_of(pairs, name) if not math.isnan(value)]
        assert found.get(name) == ((min(known), max(known)) if known else None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"srt": "loss"}, "did you mean 'sort'"),
        ({"sort": "los"}, "did you mean 'loss'"),
        ({"min_loss": "nan"}, "min_loss must be a number"),
        ({"max_ches": "1e999"}, "max_ches must be a number"),
        ({"min_row": "__import__('os')"}, "must be a number"),
        ({"descending": "yes"}, "0 or 1"),
        ({"offset": "-1"}, "whole number"),
        ({"offset": "²"}, "whole number"),
        ({"limit": "501"}, "0 to 500"),
        ({"limit": "9" * 5000}, "0 to 500"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_bad_question_is_refused_with_what_was_expected(
    given: dict[str, str], words: str
) -> None:
    with pytest.raises(BadConfig, match=words.replace("(", r"\(")):
        question(given)


def test_what_is_left_empty_is_not_asked() -> None:
    assert question({"min_loss": "", "text": "", "sort": ""}) == question({})


def test_suspects_and_texts_narrow_too(tmp_path: Path) -> None:
    run = make_pairs(tmp_path, made_up(40), suspects=(4, 10))
    pairs = load_pairs(run)
    assert pairs is not None
    rows = frozenset(suspects(run))
    assert rows == {4, 10}
    assert answer(pairs, question({"suspect": "1"}), suspect_rows=rows).tolist() == [2, 5]
    found = answer(
        pairs, question({"text": "MÜNCHEN"}), having=lambda text: tokens.having(run, text)
    )
    wanted = [i for i, texts in enumerate(made_up(40)) if "münchen" in "".join(texts).lower()]
    assert found.tolist() == wanted != []


# The reader


def test_the_reader_finds_what_was_written(tmp_path: Path) -> None:
    texts = made_up(30)
    pairs = load_pairs(make_pairs(tmp_path, texts, begun=0.5, left_out=7))
    assert pairs is not None
    assert (len(pairs), pairs.left_out, pairs.columns) == (30, 7, COLUMNS)
    for index, (ids, pair) in enumerate(zip(pairs.tokens(range(30)), texts, strict=True)):
        assert [tokenizer().decode(part.tolist()) for part in ids] == list(pair)
        sums = [float(np.sum(part)) for part in pairs.log_ratios(index)]
        recorded = [pairs.column(f"log_ratio_{x}")[index] for x in ("chosen", "rejected")]
        np.testing.assert_allclose(sums, recorded, atol=1e-4)
    assert 0 < np.isnan(pairs.column("loss")).sum() < 30
    joined = [tokenizer().decode(ids.tolist()) for ids in pairs.all_tokens()]
    assert joined == ["".join(pair) for pair in texts]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    order = ("tomorrow", *reversed(COLUMNS))
    pairs = load_pairs(make_pairs(tmp_path / "b", made_up(5), columns=order))
    plain = load_pairs(make_pairs(tmp_path / "a", made_up(5)))
    few = load_pairs(make_pairs(tmp_path / "c", made_up(5), columns=COLUMNS[-3:]))
    assert pairs is not None
    assert plain is not None
    assert few is not None
    for name in BOUNDED:
        np.testing.assert_array_equal(pairs.column(name), plain.column(name))
    assert np.isnan(few.column("loss")).all()
    np.testing.assert_array_equal(few.column("length"), plain.column("length"))


def test_no_pairs_yet_is_no_error(tmp_path: Path) -> None:
    assert load_pairs(tmp_path) is None
    make_pairs(tmp_path, made_up(2))
    (tmp_path / "pairs" / "table.npy").unlink()
    assert load_pairs(tmp_path) is None
    assert suspects(tmp_path) == {}


def _pickled(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object))


DAMAGE = {
    "index.json": [
        (lambda p: p.write_text("{"), "must be JSON"),
        (lambda p: p.write_text("[]"), "JSON object"),
        (lambda p: p.write_text('{"schema_version": 9}'), "schema_version"),
        (lambda p: p.write_text('{"schema_version": 1, "pairs": -1}'), "'pairs'"),
        (lambda p: p.write_text('{"schema_version": 1, "pairs": 1e300}'), "'pairs'"),
        (lambda p: p.write_text('{"schema_version": 1, "pairs": 4, "columns": ["a", "a"]}'), "'columns'"),
        (lambda p: p.write_text('{"schema_version": 1, "pairs": 4, "columns": []}'), "'columns'"),
    ],
    "table.npy": [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "ends too early"),
        (lambda p: p.write_bytes(b""), r"no \.npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x07\x00"), r"no \.npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00(((((((((((((((("), r"no \.npy file"),
        (lambda p: np.save(p, np.zeros((4, 13), np.float32)), "must hold float64"),
        (lambda p: np.save(p, np.zeros((3, 13))), "must hold float64"),
        (lambda p: np.save(p, np.asfortranarray(np.zeros((4, 13)))), "must hold float64"),
        (_pickled, "must hold float64"),
    ],
    "ids.npy": [
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: np.save(p, np.zeros(5, np.uint32)), "must hold uint32"),
        (lambda p: p.write_bytes(p.read_bytes()[:140]), "ends too early"),
    ],
    "log_ratios.npy": [
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: np.save(p, np.zeros(5)), "must hold float32"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, all in DAMAGE.items() for i in range(len(all))]
)
def test_damage_is_named(name: str, number: int, tmp_path: Path) -> None:
    make_pairs(tmp_path, made_up(4))
    spoil, words = DAMAGE[name][number]
    spoil(tmp_path / "pairs" / name)
    with pytest.raises(BadRun, match=words) as caught:
        _read_everything(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 2.5, 1e12])
def test_lengths_that_are_none_are_refused(value: float, tmp_path: Path) -> None:
    make_pairs(tmp_path, made_up(4))
    table = np.load(tmp_path / "pairs" / "table.npy")
    table[2, COLUMNS.index("chosen_tokens")] = value
    np.save(tmp_path / "pairs" / "table.npy", table)
    with pytest.raises(BadRun, match="of pair 2 must be whole numbers"):
        _read_everything(tmp_path)


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_a_link_out_of_the_run_is_not_read(name: str, tmp_path: Path) -> None:
    run = make_pairs(tmp_path / "run", made_up(4))
    (run / "pairs" / name).rename(tmp_path / name)
    (run / "pairs" / name).symlink_to(tmp_path / name)
    with pytest.raises(BadRun, match="link out of the run folder"):
        _read_everything(run)


def _read_everything(run: Path) -> None:
    pairs = load_pairs(run)
    assert pairs is not None
    pairs.tokens([0, 3])
    pairs.log_ratios(3)


def test_torn_lines_of_suspects_are_left_out(tmp_path: Path) -> None:
    lines = ['{"row": 3, "reason": "alike"}', "[]", '{"row": null}', '{"row": 1e999}', '{"ro']
    (tmp_path / "suspect_rows.jsonl").write_text("\n".join(lines))
    assert suspects(tmp_path) == {3: "alike"}


# Texts of tokens


@pytest.mark.parametrize("text", [*QUESTIONS, *ANSWERS, "日本語 and 👩‍👩‍👧 é", ""])
def test_pieces_make_up_the_text(text: str, tmp_path: Path) -> None:
    decode = tokens.decoder(make_pairs(tmp_path, made_up(1)))
    before, ids = (tokenizer().encode(x).ids for x in ("Human: ü?", text))
    found = tokens.pieces(decode, ids, before)
    assert len(found) == len(ids)
    assert "".join(found) == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(found)


def test_a_space_that_only_a_texts_first_token_loses_is_kept() -> None:
    """As SentencePiece's decoders do: the first space of a text is no part of it."""
    words = (" Why", " not", "?", " No", ".")

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).removeprefix(" ")

    assert tokens.pieces(decode, [3, 4, 3, 1], [0, 1, 2]) == [" No", ".", " No", " not"]
    assert tokens.pieces(decode, [3, 4, 3]) == ["No", ".", " No"]


def test_ids_that_are_no_text_still_have_pieces(tmp_path: Path) -> None:
    decode = tokens.decoder(make_pairs(tmp_path, made_up(1)))
    half = tokenizer().encode("é").ids[:1]
    assert len(tokens.pieces(decode, [*half * 30, 4_000_000_000], half)) == 31


def test_without_a_tokenizer_ids_are_numbers(tmp_path: Path) -> None:
    assert tokens.pieces(tokens.decoder(tmp_path), [5, 12], [7]) == [" 5", " 12"]


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    make_pairs(tmp_path, made_up(1))
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(BadRun, match=r"tokenizer\.json: is no tokenizer"):
        tokens.decoder(tmp_path)
