"""The folder in which scoring goes on after a kill."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from collimate._checks import BadRun
from collimate.jobs._parts import PartsFolder


@pytest.fixture
def parts(tmp_path: Path) -> PartsFolder:
    """Three of four parts of scoring A."""
    folder = PartsFolder(tmp_path / "s.jsonl.parts")
    folder.begin()
    folder.require_same({"model": "A", "data": "d"}, force=False)
    for number in (2, 0, 3):
        folder.block(number).write_bytes(b"to do")
        folder.add(number, b"%d\n" % number)
    return folder


def test_what_is_done_stays_done(parts: PartsFolder) -> None:
    assert parts.done() == {0, 2, 3}
    assert not parts.block(2).exists()
    parts.block(1).write_bytes(b"of the command that was killed")
    parts.begin()
    parts.require_same({"model": "A", "data": "d"}, force=False)
    assert parts.done() == {0, 2, 3}
    assert not parts.block(1).exists()
    parts.add(1, b"1\n")
    assert b"".join(parts.joined(4)) == b"0\n1\n2\n3\n"


def test_a_part_cut_short_is_no_part(parts: PartsFolder) -> None:
    (parts.path / "parts" / ".00000001.partial").write_bytes(b"1")
    assert parts.done() == {0, 2, 3}


def test_parts_of_another_are_refused_with_what_differs(parts: PartsFolder) -> None:
    with pytest.raises(BadRun, match=r"another scoring: model differ; .*--force"):
        parts.require_same({"model": "B", "data": "d"}, force=False)
    assert parts.done() == {0, 2, 3}
    parts.require_same({"model": "B", "data": "d"}, force=True)
    assert parts.done() == set()
    parts.require_same({"model": "B", "data": "d"}, force=False)


def test_force_keeps_parts_of_the_same(parts: PartsFolder) -> None:
    parts.require_same({"model": "A", "data": "d"}, force=True)
    assert parts.done() == {0, 2, 3}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 2, "model": "A"}'])
def test_a_damaged_identity_is_nobodys(parts: PartsFolder, content: bytes) -> None:
    (parts.path / "identity.json").write_bytes(content)
    with pytest.raises(BadRun, match="another scoring"):
        parts.require_same({"model": "A", "data": "d"}, force=False)


def test_only_what_has_not_begun_is_discarded(parts: PartsFolder, tmp_path: Path) -> None:
    new = PartsFolder(tmp_path / "new.parts")
    for folder in (parts, new):
        with suppress(KeyboardInterrupt), folder.held():
            folder.begin()
            raise KeyboardInterrupt
    assert parts.done() == {0, 2, 3}
    assert not new.path.exists()


def test_two_commands_cannot_work_in_one_folder(parts: PartsFolder) -> None:
    with parts.held():
        with pytest.raises(BadRun, match="another command is working"), parts.held():
            raise AssertionError
        assert parts.done() == {0, 2, 3}
    with parts.held():
        parts.remove()
    assert not parts.path.exists()


def test_a_folder_of_somebody_else_is_left_alone(parts: PartsFolder) -> None:
    (parts.path / "mine.txt").write_text("mine")
    with pytest.raises(BadRun, match=r"holds other things \(mine.txt\)"), parts.held():
        raise AssertionError
    parts.remove()  # as of a command that was already at work
    assert [path.name for path in parts.path.iterdir()] == ["mine.txt"]
