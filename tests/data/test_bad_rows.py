"""Every clause of the data rules: a clear error with its place, or a counted fact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collimate._checks import BadData
from collimate.data import BadRow, Limits, Reason, load_data

from .bad_rows import BAD_CASES, BadCase

Tokenizers = Callable[[str], Any]


@pytest.fixture(params=BAD_CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> BadCase:
    return request.param


def written(case: BadCase, folder: Path) -> Path:
    path = folder / case.file
    path.write_bytes(case.content)
    return path


def test_stops_with_place_and_reason(case: BadCase, tmp_path: Path, tokenizers: Tokenizers) -> None:
    path = written(case, tmp_path)
    with pytest.raises(BadData) as caught:
        load_data(path, tokenizers(case.tokenizer), limits=Limits(**case.options))
    message = str(caught.value)
    assert str(path) in message
    for word in case.words:
        assert word in message
    assert "expected" in message
    assert "got" in message
    if case.reason is not None:
        assert isinstance(caught.value, BadRow)
        assert caught.value.reason == case.reason
        assert (caught.value.row, caught.value.field) == (case.row, case.column)
        assert "--on-bad-row skip" in message


def test_skips_and_counts(case: BadCase, tmp_path: Path, tokenizers: Tokenizers) -> None:
    path = written(case, tmp_path)
    load = lambda: load_data(  # noqa: E731
        path, tokenizers(case.tokenizer), limits=Limits(**case.options), on_bad_row="skip"
    )
    if case.reason is None or case.row == 0:  # nothing good is left
        with pytest.raises(BadData):
            load()
        return
    loaded = load()
    assert loaded.facts.skipped == {case.reason: 1}
    (record,) = loaded.bad_rows
    assert list(record) == ["file", "row", "field", "reason", "message"]
    assert record["file"] == str(path)
    assert (record["row"], record["field"]) == (case.row, case.column)
    assert record["reason"] == case.reason
    assert "--on-bad-row" not in str(record["message"])
    assert case.row not in [example.row for example in loaded.examples]
    assert loaded.facts.rows == loaded.facts.used + 1 == len(loaded.examples) + 1


def test_table_covers_every_reason() -> None:
    assert {case.reason for case in BAD_CASES} - {None} == {reason.value for reason in Reason}
    assert len({case.name for case in BAD_CASES}) == len(BAD_CASES) >= 60
