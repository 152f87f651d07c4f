"""`kill -9` at any moment: what is on disk can be read, and `resume` continues to the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from collimate import report
from collimate._checks import BadRun
from collimate.engine import checkpoint
from collimate.engine.checkpoint import checkpoints, damage
from collimate.engine.load import load_model
from collimate.engine.run_folder import RunFolder
from collimate.engine.store import LogProbStore
from collimate.jobs import _job
from tests.chaos.conftest import Begin, Whole
from tests.chaos.faults import (
    at_call,
    at_event,
    die_writing,
    forking,
    kill_self,
    killed,
    require_killed,
)
from tests.equivalence.runs import (
    SETTINGS,
    STEPS,
    metrics_of,
    record_of,
    require_equal,
    saved,
    train,
    weights_of,
)

pytestmark = [pytest.mark.chaos, forking]


def require_whole(folder: Path) -> None:
    """No torn read: everything that has its name is complete, in the run folder and in the cache."""
    run = RunFolder(folder)
    if run.record_path.exists():
        assert report.load(folder).status in ("running", "finished")
    for path in checkpoints(run.checkpoints_path):
        assert damage(path) is None
    if run.model_path.exists():
        load_model(run.model_path)
    for path in (folder.parent / "cache").glob("log_probs/*"):
        assert LogProbStore(folder.parent / "cache", path.name).torn == []


def go_on(folder: Path, begin: Begin, whole: Whole) -> None:
    """Resume, or begin again where nothing had begun, and compare bit by bit."""
    require_whole(folder)
    begin(resume=(folder / "run.json").exists())
    require_equal(folder, whole.folder)


# Twenty moments, drawn once and for all. The first number says how far into an undisturbed run's
# time, or its dealings with files; the others which write of a kind, and how much of it is there.
DRAW = random.Random(20)
CLOCK = [DRAW.random() for _ in range(6)]
EVENTS = [DRAW.random() for _ in range(4)]
WRITES = [
    *(("/checkpoints/", DRAW.randint(1, 16), DRAW.random()) for _ in range(4)),
    *(("/cache/", DRAW.randint(1, 7), DRAW.random()) for _ in range(4)),
    *(("run.json", DRAW.randint(1, 6), DRAW.random()) for _ in range(2)),
]


def test_there_are_twenty_of_them() -> None:
    assert len(CLOCK) + len(EVENTS) + len(WRITES) == 20


@pytest.mark.parametrize("share", CLOCK, ids="{:.3f}".format)
def test_killed_by_the_clock(share: float, base: Path, whole: Whole, tmp_path: Path) -> None:
    """While it is read: a reader that looks again and again never meets half of anything."""
    for attempt in range(9):  # a quiet machine may have finished before the moment came
        folder = tmp_path / str(attempt) / "run"
        folder.parent.mkdir()
        moment = time.monotonic() + share * whole.seconds * 0.8**attempt

        def begin(folder: Path = folder, **given: Any) -> object:
            return train(folder, model=base, **SETTINGS, **given)

        def now(folder: Path = folder, moment: float = moment) -> bool:
            if (folder / "run.json").exists():
                report.load(folder)
            return time.monotonic() >= moment

        status = killed(begin, now)
        if os.WIFSIGNALED(status):
            require_killed(status)
            go_on(folder, begin, whole)
            return
        require_equal(folder, whole.folder)
    pytest.fail("every child had finished before it was to be killed")


@pytest.fixture(scope="module")
def events(base: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How often an undisturbed run deals with files, by Python's own account."""
    folder = tmp_path_factory.mktemp("events")

    def work() -> None:
        count = 0

        def add() -> None:
            nonlocal count
            count += 1

        at_event(None, folder / "run", add)
        train(folder / "run", model=base, **SETTINGS)
        os.write(writer, str(count).encode())

    reader, writer = os.pipe()
    assert killed(work) == 0
    return int(os.read(reader, 20))


@pytest.mark.parametrize("share", EVENTS, ids="{:.3f}".format)
def test_killed_before_it_deals_with_a_file(
    share: float, events: int, begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    assert events > 40

    def work() -> None:
        at_event(1 + int(share * events), tmp_path / "run", kill_self)
        begin()

    require_killed(killed(work))
    go_on(tmp_path / "run", begin, whole)


@pytest.mark.parametrize(("part", "call", "share"), WRITES)
def test_killed_in_a_write(
    part: str, call: int, share: float, begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    def work() -> None:
        die_writing(part, call, share)
        begin()

    require_killed(killed(work))
    go_on(tmp_path / "run", begin, whole)


INSTANTS: dict[str, tuple[tuple[Any, str], int]] = {
    "before the second checkpoint takes its name": ((shutil, "rmtree"), 4),
    "before old checkpoints are deleted": ((checkpoint, "checkpoints"), 6),
    "at the first step's record": ((_job.Job, "_require_zero_start"), 1),
    "at an evaluation": ((_job.Job, "_evaluate"), 2),
    "after the last step": ((_job.Job, "_finish"), 1),
    "at the last evaluation": ((_job, "add_samples_after"), 1),
    "at the last checkpoint": ((_job.Job, "_checkpoint"), 4),
    "before a checkpoint's record": ((_job.Job, "_write_record"), 2),
    "before the last record": ((_job.Job, "_write_record"), 5),
    "before the model is written": ((_job, "save_model"), 1),
}


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed_at_a_chosen_instant(
    instant: str, begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    of, call = INSTANTS[instant]

    def work() -> None:
        at_call(call, of, kill_self)
        begin()

    require_killed(killed(work))
    go_on(tmp_path / "run", begin, whole)


def test_killed_inside_a_line_of_metrics(begin: Begin, whole: Whole, tmp_path: Path) -> None:
    def half(folder: RunFolder, line: Mapping[str, Any]) -> None:
        if line["step"] < 8:
            return sound(folder, line)
        with folder.metrics_path.open("a") as file:
            file.write(json.dumps(line)[:25])
        return kill_self()

    def work() -> None:
        RunFolder.append_metrics = half  # type: ignore[method-assign]
        begin()

    sound = RunFolder.append_metrics
    require_killed(killed(work))
    assert report.load(tmp_path / "run").partial_lines == 1
    go_on(tmp_path / "run", begin, whole)


def lines_in(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_twice_and_resumed_twice(begin: Begin, whole: Whole, tmp_path: Path) -> None:
    for call, resume in ((4, False), (10, True)):

        def work(call: int = call, resume: bool = resume) -> None:
            at_call(call - lines_in(tmp_path / "run"), (RunFolder, "append_metrics"), kill_self)
            begin(resume=resume)

        require_killed(killed(work))
    go_on(tmp_path / "run", begin, whole)


@pytest.mark.parametrize("instant", ["half a record", "the folder alone"])
def test_killed_before_the_first_record_can_begin_again(
    instant: str, begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    def work() -> None:
        if instant == "half a record":
            die_writing("run.json", 1, 0.5)
        else:
            at_call(1, (RunFolder, "write_record"), kill_self)
        begin()

    require_killed(killed(work))
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(BadRun, match="begin the run without --resume"):
        begin(resume=True)
    go_on(tmp_path / "run", begin, whole)


def test_what_a_killed_reference_pass_had_cached_is_read(
    begin: Begin, whole: Whole, tmp_path: Path
) -> None:
    def work() -> None:
        die_writing("/cache/", 5, 0.5)
        begin()

    require_killed(killed(work))
    assert list((tmp_path / "cache").rglob("*.safetensors"))  # before the one it died in
    run = begin()
    assert 0 < run.record["reference"]["from_cache"] < 54
    require_equal(run.folder, whole.folder)


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"dropout": True}], ids=["lora", "dropout"])
@pytest.mark.parametrize("lines", [2, 7])
def test_what_is_random_goes_on_where_it_was(
    lines: int, options: dict[str, Any], tmp_path: Path
) -> None:
    """Before the first checkpoint (every 3 steps) and after it."""
    model = saved(tmp_path / "model", name="gpt2" if "dropout" in options else "llama")
    held_out = {"evaluation": None, "evaluate_every": None}
    named = {**SETTINGS, "max_steps": 8, **held_out, "samples": 0, **options}
    undisturbed = train(tmp_path / "whole", model=model, **named)
    folder = tmp_path / "run"

    def work() -> None:
        at_call(lines + 1, (RunFolder, "append_metrics"), kill_self)
        train(folder, model=model, **named)

    require_killed(killed(work))
    torch.manual_seed(99)
    train(folder, model=model, **named, resume=True)
    assert weights_of(folder) == weights_of(undisturbed.folder)
    assert metrics_of(folder) == metrics_of(undisturbed.folder)


def test_the_children_share_nothing_with_the_test(tmp_path: Path) -> None:
    """`killed` itself: the status tells a kill from an end, and what a child patches dies with it."""

    def patched() -> None:
        os.fsync = lambda _: kill_self()
        os.fsync(0)

    before: Callable[..., Any] = os.fsync
    require_killed(killed(patched))
    assert os.fsync is before
    assert killed(lambda: None) == 0
    require_killed(killed(lambda: time.sleep(30), lambda: True))
    assert os.WEXITSTATUS(killed(lambda: 1 / 0)) == 1


def test_a_run_that_lost_a_bit_is_told_from_the_same(whole: Whole, tmp_path: Path) -> None:
    """The comparison itself: else twenty of twenty would say nothing."""
    run = train(tmp_path / "run", **{**SETTINGS, "learning_rate": 1.0000001e-3})
    assert record_of(run.folder)["steps"] == STEPS
    with pytest.raises(AssertionError):
        require_equal(run.folder, whole.folder)
