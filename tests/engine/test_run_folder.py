"""Files of a run: cut back, appended, read, each with a clear error where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from collimate._checks import BadRun
from collimate.engine.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.create()
    return made


def test_metrics_are_cut_to_what_a_checkpoint_saw(folder: RunFolder) -> None:
    folder.append_metrics({"step": 1})
    seen = folder.metrics_size()
    folder.append_metrics({"step": 2})
    folder.cut_metrics(seen)
    assert folder.metrics_path.read_text() == '{"step": 1}\n'
    with pytest.raises(BadRun, match=r"has 12 bytes, .* had seen 13"):
        folder.cut_metrics(seen + 1)
    folder.metrics_path.unlink()
    with pytest.raises(BadRun, match=r"has 0 bytes"):
        folder.cut_metrics(seen)
    folder.cut_metrics(0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no run"),
        (b"", "not valid JSON"),
        (b'{"schema_version": 1', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1, 2]", "schema_version None"),
        (b"{}", "schema_version None"),
        (b'{"schema_version": 2, "status": "running"}', "schema_version 2"),
        (b'{"schema_version": 1}', "no status"),
    ],
)
def test_a_record_that_cannot_be_read(folder: RunFolder, content: bytes | None, words: str) -> None:
    if content is not None:
        folder.record_path.write_bytes(content)
    with pytest.raises(BadRun, match=words):
        folder.read_record()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRun, match="holds no run"):
        RunFolder(tmp_path / "file").read_record()
    with pytest.raises(BadRun, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").create()


def test_a_record_replaces_the_one_before(folder: RunFolder) -> None:
    folder.write_record({"status": "running"})
    folder.write_record({"status": "finished"})
    assert folder.read_record() == {"schema_version": 1, "status": "finished"}
    assert {path.name for path in folder.path.iterdir()} == {"run.json"}
