"""Readers: the same rows from every file format, streamed, and no network unless asked."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from collimate._checks import BadConfig, BadData
from collimate.data import read_rows
from collimate.data.json_text import PIECE
from collimate.data.source import read_entries

PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}


def values(source: Any, **options: Any) -> list[dict[str, Any]]:
    return [dict(row.values) for row in read_rows(source, **options)]


def make_rows(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("make_rows", folder / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_format_gives_the_same_rows(rows_folder: Path) -> None:
    expected = values(rows_folder / "numbers.jsonl.gz")
    assert len(expected) == 200
    assert values(rows_folder / "numbers.json") == expected
    assert values(rows_folder / "numbers.parquet") == expected
    as_text = [{k: v if isinstance(v, str) else repr(v) for k, v in r.items()} for r in expected]
    assert values(rows_folder / "numbers.csv") == as_text
    assert values(datasets.Dataset.from_list(expected)) == expected
    assert values(datasets.Dataset.from_list(expected).to_iterable_dataset()) == expected
    assert values(expected) == values(iter(expected)) == expected


def test_committed_rows_are_what_the_script_makes(
    rows_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_rows(rows_folder)
    monkeypatch.setattr(module, "HERE", tmp_path)
    module.main()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {p.name for p in rows_folder.iterdir() if p.suffix != ".py" and p.is_file()}
    for name in made - {"numbers.parquet"}:  # pyarrow writes its version into the file
        assert (tmp_path / name).read_bytes() == (rows_folder / name).read_bytes()
    assert values(tmp_path / "numbers.parquet") == values(rows_folder / "numbers.parquet")


def test_places_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"\n{json.dumps(PAIR)}\r\n\n{json.dumps(PAIR)}")
    assert [(row.index, row.line) for row in read_rows(path)] == [(0, 2), (1, 4)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps([PAIR, PAIR], indent=1))
    assert [(row.index, row.line) for row in read_rows(path)] == [(0, 2), (1, 7)]
    path = tmp_path / "a.csv"
    path.write_text('prompt,chosen,rejected\n"a\nb",c,d\n\ne,f,g\n')
    assert [(row.index, row.line) for row in read_rows(path)] == [(0, 2), (1, 5)]
    assert [row.file for row in read_rows(str(path))] == [str(path)] * 2
    assert [row.file for row in read_rows([PAIR], name="mine")] == ["mine"]


def test_byte_order_mark_and_spaces_are_no_content(tmp_path: Path) -> None:
    for name, text in (
        ("a.jsonl", json.dumps(PAIR)),
        ("a.json", f" [ {json.dumps(PAIR)} ] \n"),
        ("a.csv", "prompt,chosen,rejected\na,b,c"),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert values(tmp_path / name) == [PAIR]


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    packed = tmp_path / "a.jsonl"
    packed.write_bytes(gzip.compress(json.dumps(PAIR).encode()))
    plain = tmp_path / "b.JSONL.GZ"
    plain.write_text(json.dumps(PAIR))
    assert values(packed) == values(plain) == [PAIR]
    assert values(plain, format="jsonl") == [PAIR]


def test_a_named_format_wins_over_the_ending(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(json.dumps(PAIR))
    assert values(tmp_path / "a.txt", format="jsonl") == [PAIR]
    (tmp_path / "a.jsonl").write_text(json.dumps([PAIR], indent=1))
    assert values(tmp_path / "a.jsonl", format="json") == [PAIR]


def test_a_json_list_is_read_in_pieces(tmp_path: Path) -> None:
    # Objects across the border of a piece, one longer than several pieces, escapes and all.
    rows = [{"chosen": 'é\\"]},{' * 50, "i": i} for i in range(5000)]
    rows[3]["chosen"] = "x" * (3 * PIECE)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False))
    assert values(path) == rows


def test_reading_is_lazy() -> None:
    taken = []

    def source() -> Iterator[dict[str, str]]:
        for i in range(1000):
            taken.append(i)
            yield PAIR

    stream = read_rows(source())
    assert taken == []
    next(stream)
    assert taken == [0]


def test_a_bad_row_does_not_stop_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(PAIR)}\nbroken\n{json.dumps(PAIR)}\n")
    kinds = [type(entry).__name__ for entry in read_entries(path)]
    assert kinds == ["Row", "BadRow", "Row"]


def test_long_cells_and_the_global_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text("prompt,chosen,rejected\na,b," + "x" * 300_000 + "\n")
    assert len(values(path)[0]["rejected"]) == 300_000
    assert csv.field_size_limit() == before


def test_datasets_in_other_formats_give_python_values() -> None:
    data = datasets.Dataset.from_list([{**PAIR, "weight": 1.5}]).with_format("numpy")
    assert values(data) == [{**PAIR, "weight": 1.5}]
    assert type(values(data)[0]["weight"]) is float


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no/such.jsonl", "hub:owner/name"),
        ("owner/name", "there is none at that path"),
        (".", "a folder"),
        ("hub:", "hub:owner/name:split"),
        ("hub:a/b/c", "hub:owner/name:split"),
        ([], "is empty"),
        ({"chosen": ["a"]}, "from_dict"),
        (b"{}", "got bytes"),
        (["text"], "mapping of column name"),
        ([{1: 2}], "mapping of column name"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_list([PAIR])}), "splits (train)"),
    ],
)
def test_refused_sources(source: Any, words: str) -> None:
    with pytest.raises(BadData, match="expected") as caught:
        list(read_rows(source))
    assert words in str(caught.value)


def test_unknown_format() -> None:
    with pytest.raises(BadConfig, match="did you mean 'parquet'"):
        list(read_rows([PAIR], format="parket"))


def test_the_hub_is_asked_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bool]] = []

    def load_dataset(name: str, *, split: str, streaming: bool) -> Any:
        asked.append((name, split, streaming))
        if name == "gone":
            raise datasets.exceptions.DatasetNotFoundError("no such data set")
        if split == "odd":
            raise ValueError('Unknown split "odd".')
        return datasets.Dataset.from_list([PAIR]).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert values("hub:owner/name") == values("hub:owner/name:test") == [PAIR]
    assert asked == [("owner/name", "train", True), ("owner/name", "test", True)]
    with pytest.raises(BadData, match="DatasetNotFoundError: no such data set"):
        values("hub:gone")
    with pytest.raises(BadData, match="check the name, the split"):
        values("hub:owner/name:odd")
    with pytest.raises(BadData, match="there is none at that path"):
        values("owner/name")
    assert len(asked) == 4
