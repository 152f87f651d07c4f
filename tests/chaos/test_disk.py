"""A disk that is full, a folder that stays as it is: said with the file, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from collimate._checks import BadRun
from collimate.cli.main import main
from collimate.engine.checkpoint import checkpoints, damage
from collimate.engine.run_folder import RunFolder
from collimate.engine.store import LogProbStore
from collimate.jobs import _job
from tests.chaos.conftest import Begin, Whole
from tests.chaos.faults import (
    at_call,
    can_mount,
    fill_every_disk,
    forking,
    mount_again,
    mount_disk,
    told_by,
)
from tests.cli.tiny import pairs, save_tiny, write_rows
from tests.equivalence.runs import (
    SETTINGS,
    metrics_of,
    record_of,
    require_equal,
    text_pairs,
    train,
    weights_of,
)

pytestmark = [pytest.mark.chaos, forking]

FULL: dict[str, tuple[tuple[Any, str], int, str]] = {
    # what is being written when the disk is full, and what the error names
    "reference cache": ((LogProbStore, "add"), 2, "cannot write the reference cache in"),
    "first record": ((RunFolder, "write_record"), 1, "run.json"),
    "line of metrics": ((RunFolder, "append_metrics"), 5, "metrics.jsonl"),
    "second checkpoint": ((_job, "save_checkpoint"), 2, "cannot write a checkpoint to"),
    "record of a checkpoint": ((_job.Job, "_write_record"), 2, "run.json"),
    "model": ((_job, "save_model"), 1, "cannot write the model to"),
    "tokenizer": (
        (PreTrainedTokenizerFast, "_save_pretrained"),
        1,
        "cannot write the tokenizer to",
    ),
    "model's tokenizer": (
        (PreTrainedTokenizerFast, "_save_pretrained"),
        2,
        "cannot write the model to",
    ),
    "last record": ((_job.Job, "_write_record"), 5, "run.json"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_space(
    what: str, begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    of, call, words = FULL[what]

    def work() -> None:
        at_call(call, of, fill_every_disk)
        begin()

    told = told_by(work)
    assert told.startswith("BadRun: ")
    assert words in told
    assert "File too large" in told
    assert "free some space" in told
    folder = tmp_path / "run"
    assert [damage(path) for path in checkpoints(folder / "checkpoints")] in (
        [],
        [None],
        2 * [None],
    )
    assert not list(folder.glob(".model.partial"))
    begin(resume=(folder / "run.json").exists())
    require_equal(folder, whole.folder)


def test_a_full_disk_is_exit_code_2_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_tiny(tmp_path / "model")
    data = write_rows(tmp_path / "pairs.jsonl", pairs(12))
    argv = ["train", "--model", tmp_path / "model", "--data", data, "--out", tmp_path / "run"]
    argv += ["--cache", tmp_path / "cache", "--max-steps", 3, "--batch-size", 4, "--no-progress"]

    def work() -> int:
        at_call(2, (RunFolder, "append_metrics"), fill_every_disk)
        return main([str(argument) for argument in argv])

    # The captured output is a file, and the disk is full: nothing of what is said can be kept.
    assert told_by(work) == "2"
    assert "Traceback" not in capfd.readouterr().err
    assert main([*map(str, argv), "--resume"]) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if not can_mount(tmp_path / "disk"):
        pytest.skip("needs leave to mount a disk: run as root, or where users have namespaces")
    return tmp_path / "disk"


@pytest.mark.parametrize("kib", [24, 300, 640, 900])
def test_a_small_disk_that_is_made_larger(
    kib: int, base: Path, whole: Whole, disk: Path, tmp_path: Path
) -> None:
    """The kernel's own ENOSPC, at another moment for each size, and no signal of a broken map."""

    def work() -> str:
        mount_disk(disk, kib)
        named = {**SETTINGS, "model": base, "cache": disk / "cache"}
        try:
            train(disk / "run", **named)
        except BadRun as error:
            said = str(error)
        else:
            return "it was large enough"
        assert all(damage(path) is None for path in checkpoints(disk / "run" / "checkpoints"))
        mount_again(disk)
        train(disk / "run", **named, resume=(disk / "run" / "run.json").exists())
        shutil.copytree(disk / "run", tmp_path / "out")
        return said

    told = told_by(work)
    assert told.startswith("cannot write")
    assert "No space left on device" in told
    require_equal(tmp_path / "out", whole.folder)


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(BadRun) as caught:
        work()
    return str(caught.value)


def test_a_folder_that_cannot_be_written(base: Path, disk: Path, tmp_path: Path) -> None:
    """A read-only disk holds for root too. All three of a run's places, and a run folder half-way."""

    def work() -> str:
        mount_disk(disk, 4096)
        named = {**SETTINGS, "model": base, "cache": tmp_path / "cache"}
        at_call(5, (RunFolder, "append_metrics"), lambda: mount_again(disk, read_only=True))
        said = [refused(lambda: train(disk / "run", **named))]
        said.append(refused(lambda: train(disk / "run", **named, resume=True)))
        said.append(refused(lambda: train(disk / "other", **named)))
        said.append(refused(lambda: train(tmp_path / "a", **{**named, "cache": disk / "cache"})))
        mount_again(disk)
        train(disk / "run", **named, resume=True)
        shutil.copytree(disk / "run", tmp_path / "out")
        return "\n".join(said)

    broken, resumed, other, cache = told_by(work).splitlines()
    assert "metrics.jsonl: Read-only file system" in broken
    assert "Read-only file system" in resumed
    assert other.startswith(f"cannot write to {disk / 'other'}")
    assert cache.startswith(f"cannot write the reference cache in {disk / 'cache'}")
    assert not (tmp_path / "a").exists()
    assert record_of(tmp_path / "out")["status"] == "finished"


def test_what_is_only_read_may_be_read_only(disk: Path, base: Path, tmp_path: Path) -> None:
    def work() -> str:
        mount_disk(disk, 4096)
        shutil.copytree(base, disk / "model")
        write_rows(disk / "pairs.jsonl", text_pairs())
        mount_again(disk, read_only=True)
        named = {"data": disk / "pairs.jsonl", "report": True, "max_steps": 2}
        return weights_of(train(tmp_path / "run", model=disk / "model", **named).folder)

    expected = train(tmp_path / "whole", model=base, max_steps=2)
    assert told_by(work) == weights_of(expected.folder)
    assert metrics_of(tmp_path / "run") == metrics_of(expected)
