"""Whole files: every format, facts, hash, duplicates, columns, real data."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collimate._checks import BadData
from collimate._types import Answer, Example, Role
from collimate.data import (
    BadRow,
    CharacterTokenizer,
    Kind,
    Limits,
    content_hash,
    load_data,
    with_mismatched,
)

from .conftest import TEXT

Tokenizers = Callable[[str], Any]
CHARACTERS = CharacterTokenizer()
PAIR = {"prompt": "2+2? ", "chosen": "4", "rejected": "5"}
TURNED = {"prompt": "2+2? ", "chosen": "5", "rejected": "4"}


def facts(*rows: dict[str, Any], tokenizer: Any = CHARACTERS, **options: Any) -> Any:
    return load_data(rows, tokenizer, **options).facts


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("explicit_text.jsonl", "preference, explicit prompt"),
        ("implicit_text.jsonl", "preference, implicit prompt"),
        ("explicit_conversation.jsonl", "preference, explicit prompt, conversational"),
        ("implicit_conversation.jsonl", "preference, implicit prompt, conversational"),
        ("numbers.csv", "preference, explicit prompt"),
        ("numbers.json", "preference, explicit prompt"),
        ("numbers.jsonl.gz", "preference, explicit prompt"),
        ("numbers.parquet", "preference, explicit prompt"),
    ],
)
def test_made_up_rows_load(
    name: str, format: str, rows_folder: Path, tokenizers: Tokenizers
) -> None:
    loaded = load_data(
        rows_folder / name, tokenizers("chat"), limits=Limits(vocab_size=400, context=512)
    )
    assert len(loaded) == loaded.facts.rows == loaded.facts.used == 200
    assert loaded.facts.format == format
    assert loaded.facts.skipped == {}
    assert [example.row for example in loaded.examples] == list(range(200))
    for example in loaded.examples:
        assert len(example.prompt)
        for answer in example.answers:
            assert answer.ids[-1] == tokenizers("chat").eos_token_id
            assert answer.token_weight is None or answer.token_weight[-1] == 1


def test_file_formats_agree_to_the_hash(rows_folder: Path, tokenizers: Tokenizers) -> None:
    loaded = [
        load_data(rows_folder / f"numbers.{ending}", tokenizers("plain"))
        for ending in ("csv", "json", "jsonl.gz", "parquet")
    ]
    assert len({entry.facts.hash for entry in loaded}) == 1
    for entry in loaded:
        assert entry.facts.columns == ("margin", "weight")
        assert entry.facts.ignored == ("rater",)
        assert "Columns that are not used: rater." in entry.facts.notes
        assert dataclasses.replace(entry.facts, file="") == dataclasses.replace(
            loaded[0].facts, file=""
        )


def test_implicit_text_equals_explicit_text(tokenizers: Tokenizers) -> None:
    explicit = {"prompt": "Q: a\n\nA:", "chosen": " good", "rejected": " great"}
    implicit = {key: explicit["prompt"] + explicit[key] for key in ("chosen", "rejected")}
    tokenizer = tokenizers("plain")
    assert facts(explicit, tokenizer=tokenizer).hash == facts(implicit, tokenizer=tokenizer).hash


def test_thumbs_load(rows_folder: Path) -> None:
    loaded = load_data(rows_folder / "thumbs.jsonl", CHARACTERS, kind="thumbs")
    labels = [example.answers[0].label for example in loaded.examples]
    assert set(labels) == {1, -1}
    assert loaded.facts.format == "thumbs, explicit prompt"
    assert loaded.facts.chosen_longer is None
    row = {"prompt": "a", "completion": "b", "label": True}
    both = load_data([row, {**row, "label": 0}, row], CHARACTERS, kind="thumbs").facts
    assert (both.duplicates, both.contradictions) == (1, 2)
    assert load_data([row], CHARACTERS, kind="thumbs").facts.rejected_tokens is None
    for label, words in ((None, "null"), (0.5, "0.5"), (-1, "-1"), ("up", "'up'")):
        with pytest.raises(BadRow, match="true or false") as caught:
            load_data([{**row, "label": label}], CHARACTERS, kind="thumbs")
        assert words in str(caught.value)
    with pytest.raises(BadRow, match="column 'label'"):
        load_data([{"prompt": "a", "completion": "b"}], CHARACTERS, kind="thumbs")
    with pytest.raises(BadRow, match="look like lists of scored responses; methods that fit those"):
        load_data([{"prompt": "a", "completion": "b", "score": 1.0}], CHARACTERS, kind="thumbs")


def test_thumbs_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion,label\na,b,True\nc,d,0\n")
    examples = load_data(path, CHARACTERS, kind="thumbs").examples
    assert [example.answers[0].label for example in examples] == [1, -1]


def test_lists_load_and_become_pairs_of_best_and_worst(rows_folder: Path) -> None:
    path = rows_folder / "lists.jsonl"
    lists = load_data(path, CHARACTERS, kind="lists", on_bad_row="skip")
    pairs = load_data(path, CHARACTERS, on_bad_row="skip")
    assert lists.facts.format == "lists, explicit prompt"
    assert "read as preference: the best answer against the worst" in pairs.facts.format
    assert lists.facts.chosen_longer is None
    by_row = {example.row: example for example in lists.examples}
    for pair in pairs.examples:
        scores = [answer.score for answer in by_row[pair.row].answers]
        for answer, extreme in zip(pair.answers, (max, min), strict=True):
            assert answer.score == extreme(scores)
            kept = by_row[pair.row].answers[scores.index(answer.score)]
            assert kept.ids.tolist() == answer.ids.tolist()
        assert [answer.label for answer in pair.answers] == [1, -1]


LIST = {"prompt": "a", "completions": ["b", "c", "d"], "scores": [0.5, 2, 1]}


def test_lists_are_written_in_three_ways() -> None:
    ranked = {"prompt": "a", "ranking": ["c", "d", "b"]}
    single = {"prompt": "a", "completion": "b", "score": -1.5}
    for row, scores in ((LIST, [0.5, 2, 1]), (ranked, [0, -1, -2]), (single, [-1.5])):
        (example,) = load_data([row], CHARACTERS, kind="lists").examples
        assert [answer.score for answer in example.answers] == scores
    (example,) = load_data([ranked], CHARACTERS).examples
    assert [chr(answer.ids[0]) for answer in example.answers] == ["c", "b"]


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ({**LIST, "scores": [1, 2]}, "lists", "a score for each of the 3 completions, got 2"),
        ({**LIST, "scores": [1, None, 2]}, "lists", "a finite number, larger for a better"),
        ({**LIST, "scores": [1, float("nan"), 2]}, "lists", "a finite number"),
        ({**LIST, "completions": []}, "lists", "one answer or more"),
        ({**LIST, "completions": ["b", "b", "d"]}, "lists", "got the same 2 tokens"),
        ({**LIST, "completions": ["b", " ", "d"]}, "lists", "one visible character"),
        ({**LIST, "scores": [1, 1, 1]}, "preference", "answers of different scores"),
        ({"prompt": "a", "completion": "b", "score": 1}, "preference", "direct_advantage_po alone"),
        ({"prompt": "a", "completion": "b", "score": 1}, "thumbs", "direct_advantage_po alone"),
        ({"prompt": "a", "completions": ["b"]}, "lists", "a column 'scores'"),
        (LIST, "thumbs", "methods that fit those: those of lists"),
        ({"prompt": "a", "completion": "b", "label": True}, "preference", "kto, bco"),
        ({"prompt": "a", "completion": "b", "label": True}, "lists", "kto, bco"),
        (PAIR, "triples", "a column 'gold'"),
        ({**PAIR, "gold": ""}, "triples", "one visible character"),
        ({**PAIR, "gold": [{"role": "assistant", "content": "4"}]}, "triples", "write them alike"),
        ({"chosen": "ab", "rejected": "ac", "gold": "ad"}, "triples", "a column 'prompt' beside"),
    ],
)
def test_what_cannot_be_read_so_is_refused(row: dict, kind: Kind, words: str) -> None:
    with pytest.raises(BadRow, match=re.escape(words)):
        load_data([row], CHARACTERS, kind=kind)


def test_pairs_become_thumbs_and_lists_of_two() -> None:
    thumbs, lists = (load_data([PAIR], CHARACTERS, kind=kind) for kind in ("thumbs", "lists"))
    assert [answer.label for answer in thumbs.examples[0].answers] == [1, -1]
    assert [answer.score for answer in lists.examples[0].answers] == [1, 0]
    assert "read as thumbs" in thumbs.facts.format
    assert "read as lists" in lists.facts.format


def test_a_gold_answer_is_an_answer_of_its_own_role() -> None:
    for name in ("gold", "reference"):
        loaded = load_data([{**PAIR, name: PAIR["chosen"]}], CHARACTERS, kind="triples")
        (example,) = loaded.examples
        assert [answer.role for answer in example.answers] == [Role.ANSWER, Role.ANSWER, Role.GOLD]
        assert example.answers[2].ids.tolist() == example.answers[0].ids.tolist()
        assert loaded.facts.ties == 0
        assert loaded.facts.ignored == ()
    assert load_data([{**PAIR, "gold": "x"}], CHARACTERS).facts.ignored == ("gold",)


def test_as_written_is_what_no_kind_reads() -> None:
    for row, name in ((PAIR, "preference"), (LIST, "lists"), ({**PAIR, "gold": "x"}, "triples")):
        assert load_data([row], CHARACTERS, kind=None).facts.format.startswith(name)


def test_mismatched_answers_are_under_another_prompt() -> None:
    rows = [
        {"prompt": p, "completion": c, "label": True} for p, c in zip("aabbc", "12345", strict=True)
    ]
    loaded = load_data(rows, CHARACTERS, kind="thumbs")
    found = with_mismatched(loaded.examples)
    assert [chr(e.answers[1].ids[0]) for e in found] == ["3", "3", "5", "5", "1"]
    assert all(e.answers[1].role is Role.MISMATCHED and e.answers[1].label is None for e in found)
    assert [e.answers[0] for e in found] == [e.answers[0] for e in loaded.examples]
    with pytest.raises(BadData, match="all rows have the same prompt"):
        with_mismatched(loaded.examples[:2])


def test_a_mismatched_answer_fits_into_the_context() -> None:
    rows = [("aaa", "1"), ("b", "23456"), ("c", "7")]
    data = [{"prompt": p, "completion": c, "label": True} for p, c in rows]
    examples = load_data(data, CHARACTERS, kind="thumbs").examples
    found = with_mismatched(examples, context=7)
    assert [chr(e.answers[1].ids[0]) for e in found] == ["7", "7", "1"]
    with pytest.raises(BadData, match="row 0: no answer to another prompt fits"):
        with_mismatched(examples, context=4)


def test_facts_are_data_of_the_run_record() -> None:
    data = facts(PAIR, {**PAIR, "chosen": "4!!"}, name="mine").to_json()
    documented = (Path(__file__).parents[2] / "docs" / "run-folder.md").read_text()
    assert [name for name in data if f'"{name}"' not in documented] == []
    assert json.loads(json.dumps(data))["notes"] == list(data["notes"])
    assert data["file"] == "mine"
    assert data["prompt_tokens"] == {"median": 6.0, "max": 6}  # with the beginning
    assert data["chosen_tokens"] == {"median": 3.0, "max": 4}  # with the end
    assert data["chosen_longer"] == 0.75  # equal lengths count half


def test_duplicates_contradictions_and_ties() -> None:
    found = facts(
        PAIR,
        PAIR,
        PAIR,
        TURNED,
        {**PAIR, "rejected": "4"},
        {"prompt": "a", "chosen": "Yes", "rejected": "yes "},
        on_bad_row="skip",
    )
    assert (found.duplicates, found.contradictions, found.ties) == (2, 1, 2)
    text = " ".join(found.notes)
    assert "repeats of an earlier row: 2 rows (40.0%)." in text
    assert "Contradictions of an earlier row: 1 row (20.0%)" in text
    assert "Bad and left out: 1 row (16.7%): chosen equals rejected 1." in text


def test_length_bias_is_said() -> None:
    longer = [{**PAIR, "prompt": str(i), "chosen": "long answer"} for i in range(9)]
    assert "chosen answer is the longer one in 100%" in " ".join(facts(*longer).notes)
    assert facts(*longer[:3]).notes == ()  # three of three may be chance


def test_joint_tokenisation_is_counted(tokenizers: Tokenizers) -> None:
    tokenizer = tokenizers("plain")
    split = {"prompt": "the mi", "chosen": "ll", "rejected": "d"}
    apart = {"prompt": "the mill", "chosen": " by", "rejected": " river"}
    found = facts(split, apart, tokenizer=tokenizer)
    assert found.joint_tokenisation_differs == 1
    assert "tokenised otherwise" in " ".join(found.notes)


def test_joint_tokenisation_of_windows_equals_whole(tokenizers: Tokenizers) -> None:
    tokenizer, rng = tokenizers("plain"), random.Random(0)
    rows = []
    for _ in range(300):
        text = " ".join(rng.choices(TEXT.split(), k=30))
        cut = rng.randrange(1, len(text) - 1)
        rows.append({"prompt": text[:cut], "chosen": text[cut:], "rejected": "\n" + TEXT})
    loaded = load_data(rows, tokenizer)
    whole = 0
    for row, example in zip(rows, loaded.examples, strict=True):
        joint = [tokenizer(row["prompt"] + row[key])["input_ids"] for key in ("chosen", "rejected")]
        apart = [[*example.prompt, *answer.ids[:-1]] for answer in example.answers]
        whole += joint != apart
    assert 0 < whole < 300
    assert loaded.facts.joint_tokenisation_differs == whole


def test_notes_about_tokens(tokenizers: Tokenizers) -> None:
    row = {"prompt": "where is it", "chosen": "zzz", "rejected": "no"}
    assert "does not know" in " ".join(facts(row, tokenizer=tokenizers("words")).notes)
    inside = {**PAIR, "chosen": "four<eos>five"}
    assert "before its end" in " ".join(facts(inside, tokenizer=tokenizers("plain")).notes)
    repeated = {"prompt": "2+2? ", "chosen": "2+2? 4", "rejected": "2+2? 5"}
    assert "begin with the prompt itself" in " ".join(facts(repeated).notes)


def test_columns() -> None:
    rows = [
        {**PAIR, "weight": 1, "rating": 3, "note": "x", "sure": True, "late": None},
        {**PAIR, "weight": 0.5, "rating": "none", "note": 2, "sure": False, "late": 4},
    ]
    loaded = load_data(rows, CHARACTERS)
    assert [dict(example.columns) for example in loaded.examples] == [
        {"weight": 1.0},
        {"weight": 0.5},
    ]
    assert loaded.facts.columns == ("weight",)
    assert loaded.facts.ignored == ("late", "note", "rating", "sure")


def test_words_in_csv_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected,name,n\na,b,c,nan,1\nd,e,f,Infinity,2\n")
    loaded = load_data(path, CHARACTERS)
    assert (loaded.facts.columns, loaded.facts.ignored) == (("n",), ("name",))


def test_the_hash_sees_everything_but_names_and_rows() -> None:
    def one(prompt: list[int], ids: list[int], **more: Any) -> Example:
        answer = Answer(ids=np.array(ids), **more.pop("answer", {"label": 1}))
        return Example(prompt=np.array(prompt), answers=(answer,), row=more.pop("row", 0), **more)

    base = one([1, 2], [3])
    others = [
        one([1], [2, 3]),
        one([1, 2], [4]),
        one([2, 1], [3]),
        one([1, 2], [3], answer={"label": -1}),
        one([1, 2], [3], answer={"label": 1, "score": 0.0}),
        one([1, 2], [3], answer={"label": 1, "token_weight": np.zeros(1)}),
        one([1, 2], [3], columns={"weight": 1.0}),
        one([1, 2], [3], columns={"margin": 1.0}),
    ]
    hashes = {content_hash([entry]) for entry in (base, *others)}
    assert len(hashes) == len(others) + 1
    assert content_hash([one([1, 2], [3], row=5)]) == content_hash([base])
    assert content_hash([base, others[0]]) != content_hash([others[0], base])
    small = dataclasses.replace(base, prompt=base.prompt.astype(np.int32))
    assert content_hash([small]) == content_hash([base])


def test_the_hash_is_the_same_everywhere() -> None:
    # Written down once: a change here means that every cache and every resumed run changes.
    def row(chosen: str, rejected: str, weight: float) -> Example:
        answers = tuple(
            Answer(ids=np.array([ord(text), 256]), label=label)
            for text, label in ((chosen, 1), (rejected, -1))
        )
        prompt = np.array([ord(letter) for letter in "2+2? "])
        return Example(prompt=prompt, answers=answers, row=0, columns={"weight": weight})

    examples = [row("4", "5", 0.5), row("5", "4", 2.0)]
    assert content_hash(examples)[:32] == "07da6ad57b68af38396c4bf335ecc61d"


def test_limit_progress_and_order(rows_folder: Path) -> None:
    seen: list[int] = []
    rows = [{**PAIR, "prompt": f"{i}?"} for i in range(600)]
    assert len(load_data(iter(rows), CHARACTERS, progress=seen.append)) == 600
    assert seen == [256, 256, 88]
    assert load_data(rows, CHARACTERS, limit=3).facts.rows == 3
    first = load_data(rows_folder / "numbers.json", CHARACTERS, limit=5)
    assert [example.row for example in first.examples] == [0, 1, 2, 3, 4]


def test_rows_are_streamed() -> None:
    pulled = 0

    def source() -> Any:
        nonlocal pulled
        for i in range(10_000):
            pulled += 1
            yield {**PAIR, "prompt": f"{i}?"}

    load_data(source(), CHARACTERS, limit=10)
    assert pulled == 10
    with pytest.raises(BadRow):
        load_data((row if pulled < 300 else {} for row in source()), CHARACTERS)
    assert pulled < 1000


def test_all_rows_bad() -> None:
    with pytest.raises(BadData, match=r"2 bad ones \(empty answer 1, null value 1\); the first:"):
        facts({**PAIR, "chosen": ""}, {**PAIR, "chosen": None}, on_bad_row="skip")


def test_importing_the_data_layer_imports_no_heavy_package() -> None:
    heavy = ("transformers", "tokenizers", "datasets", "pyarrow", "jinja2")
    code = (
        "import sys, collimate.data as d; "
        "d.load_data([{'prompt': 'a', 'chosen': 'b', 'rejected': 'c'}], d.CharacterTokenizer()); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_real_pairs(shared_data: Callable[[str], Path], tokenizers: Tokenizers) -> None:
    path = shared_data("hh_harmless_base/test.jsonl.gz")
    loaded = load_data(path, tokenizers("plain"), limit=300)
    assert loaded.facts.used == loaded.facts.rows == 300
    assert loaded.facts.columns == ("fold", "row", "turns")
    assert loaded.facts.format == "preference, explicit prompt"


@pytest.mark.slow
def test_all_real_pairs(shared_data: Callable[[str], Path], tokenizers: Tokenizers) -> None:
    loaded = load_data(shared_data("hh_harmless_base/test.jsonl.gz"), tokenizers("plain"))
    assert loaded.facts.used == loaded.facts.rows == 2303
    assert (loaded.facts.duplicates, loaded.facts.contradictions) == (0, 0)  # its INDEX.md says so
    assert 0.3 < loaded.facts.chosen_longer < 0.6


def test_real_rankings(shared_data: Callable[[str], Path]) -> None:
    loaded = load_data(shared_data("oasst_en100/pairs.jsonl.gz"), CHARACTERS)
    assert loaded.facts.used == 754
    assert loaded.facts.chosen_longer > 0.65
    assert "may learn length" in " ".join(loaded.facts.notes)


def test_real_thumbs(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("oasst_en100/thumbs_unpaired.jsonl.gz")
    thumbs = load_data(path, CHARACTERS, kind="thumbs", on_bad_row="skip")
    assert thumbs.facts.skipped == {"null value": 25}  # draws have no label
    assert thumbs.facts.used == 98 + 334


def test_a_score_is_contradicted_by_nothing() -> None:
    single = {"prompt": "a", "completion": "b", "score": 1.0}
    found = load_data([single, {**single, "score": 2.0}, single], CHARACTERS, kind="lists").facts
    assert (found.duplicates, found.contradictions) == (1, 0)


def test_what_a_ranking_does_not_read_is_named() -> None:
    row = {"prompt": "a", "ranking": ["b", "c"], "scores": [1, 2]}
    assert load_data([row], CHARACTERS, kind="lists").facts.ignored == ("scores",)
