"""Killed, stopped or failed at any moment: `resume` continues to the bits of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import torch
from torch import Tensor

import collimate
from collimate import methods
from collimate._checks import BadRun, CollimateError, TrainingFailed
from collimate._types import PairLogProbs
from collimate.axes import Needs, State, Term
from collimate.engine import checkpoint, run_folder
from collimate.engine.run_folder import RunFolder
from collimate.jobs import _job
from tests.equivalence.runs import (
    contents,
    metrics_of,
    policy,
    record_of,
    saved,
    text_pairs,
    train,
    weights_of,
)

STEPS = 12
HELD_OUT = text_pairs(6, seed=1)
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "evaluation": HELD_OUT,
    "evaluate_every": 5,
    "checkpoint_every": 3,
    "samples": 1,
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(base: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    return train(
        tmp_path_factory.mktemp("whole") / "run", model=base, cache=cache, **SETTINGS
    ).folder


@pytest.fixture
def begin(base: Path, cache: Path, tmp_path: Path) -> Callable[..., collimate.Run]:
    """Begin (or resume) the run in `tmp_path/run`."""
    return lambda **given: train(tmp_path / "run", model=base, cache=cache, **{**SETTINGS, **given})


def quick(*values: Any, named: Collection[Any]) -> list[Any]:
    """The values, those that are not named marked slow."""
    return [v if v in named else pytest.param(v, marks=pytest.mark.slow) for v in values]


def killed(work: Callable[[], object], until: Callable[[], bool] | None = None) -> int:
    """Do `work` in a child that is killed by SIGKILL when `until` holds; its exit status.

    Without `until` the child is expected to kill itself.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must end here, whatever came
            os._exit(1)
    deadline = time.monotonic() + 60
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        if (until is not None and until()) or time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def kill_self() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def require_equal(folder: Path, undisturbed: Path) -> None:
    assert weights_of(folder) == weights_of(undisturbed)
    assert metrics_of(folder) == metrics_of(undisturbed)
    record, expected = record_of(folder), record_of(undisturbed)
    for name in ("status", "error", "steps", "evaluation", "samples", "identity"):
        assert record[name] == expected[name], name
    assert record["reference"]["hash"] == expected["reference"]["hash"]
    first = "first_step_max_log_ratio"
    assert record["reference"][first] == expected["reference"][first]
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    found, wanted = contents(newest), contents(undisturbed / "checkpoints" / newest.name)
    for name in ("model.safetensors", "optimizer.safetensors", "random.safetensors"):
        assert found[name] == wanted[name], name


def lines_in(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment(
    seed: int, begin: Callable[..., collimate.Run], undisturbed: Path, tmp_path: Path
) -> None:
    folder, draw = tmp_path / "run", random.Random(seed)
    lines, delay = draw.randint(1, STEPS), draw.uniform(0, 0.05)

    def now() -> bool:
        if lines_in(folder) < lines:
            return False
        time.sleep(delay)
        return True

    status = killed(begin, now)
    if os.WIFSIGNALED(status):
        assert record_of(folder)["status"] == "running"
        begin(resume=True)
    require_equal(folder, undisturbed)  # it may have finished within the delay


def test_killed_twice_and_resumed_twice(
    begin: Callable[..., collimate.Run], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert os.WIFSIGNALED(killed(begin, lambda: lines_in(folder) >= 4))
    status = killed(lambda: begin(resume=True), lambda: lines_in(folder) >= 10)
    if os.WIFSIGNALED(status):
        begin(resume=True)
    require_equal(folder, undisturbed)


def _nth(call: int, then: Callable[..., Any], sound: Callable[..., Any]) -> Callable[..., Any]:
    """`sound`, but `then` at its n-th call (from 1)."""
    count = 0

    def wrapped(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return then(*given, **named) if count == call else sound(*given, **named)

    return wrapped


def _half_written(path: Path, data: bytes, *_: Any) -> None:
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
    kill_self()


def _half_saved(path: Path, tensors: Mapping[str, Tensor]) -> None:
    checkpoint.safetensors.torch.save_file(dict(tensors), path)
    _half_written(path, path.read_bytes())


def _half_line(folder: RunFolder, line: Mapping[str, Any]) -> None:
    with folder.metrics_path.open("a") as file:
        file.write(json.dumps(line)[:25])
    kill_self()


INSTANTS: dict[str, tuple[object, str, int, Callable[..., Any] | None]] = {
    # where the child kills itself: (owner, attribute, n-th call, what it does first)
    "inside the first checkpoint's weights": (checkpoint, "_save", 1, _half_saved),
    "inside the second checkpoint's optimiser": (checkpoint, "_save", 5, _half_saved),
    "inside the second checkpoint's state": (checkpoint, "_write", 2, _half_written),
    "before the second checkpoint takes its name": (Path, "rename", 2, None),
    "before old checkpoints are deleted": (checkpoint, "checkpoints", 6, None),
    "inside a line of metrics": (RunFolder, "append_metrics", 8, _half_line),
    "at the first step's record": (_job.Job, "_require_zero_start", 1, None),
    "at an evaluation": (_job.Job, "_evaluate", 2, None),
    "after the last step": (_job.Job, "_finish", 1, None),
    "at the last evaluation": (_job.Job, "_samples_after", 1, None),
    "at the last checkpoint": (_job.Job, "_checkpoint", 4, None),
    "before a checkpoint's record": (_job.Job, "_write_record", 2, None),
    "before the last record": (_job.Job, "_write_record", 5, None),
}
QUICK = (
    "inside the second checkpoint's optimiser",
    "before the second checkpoint takes its name",
    "inside a line of metrics",
    "at an evaluation",
    "at the last evaluation",
)


@pytest.mark.parametrize("instant", quick(*INSTANTS, named=QUICK))
def test_killed_at_a_chosen_instant(
    instant: str,
    begin: Callable[..., collimate.Run],
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, name, call, then = INSTANTS[instant]

    def work() -> None:
        wrapped = _nth(call, then or (lambda *_, **__: kill_self()), getattr(owner, name))
        setattr(owner, name, wrapped)  # in the child only
        begin()

    status = killed(work)
    assert os.WIFSIGNALED(status), "the child must have come to the instant"
    assert os.WTERMSIG(status) == signal.SIGKILL
    begin(resume=True)
    require_equal(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("instant", ["half a record", "the folder alone"])
def test_killed_before_the_first_record_can_begin_again(
    instant: str, begin: Callable[..., collimate.Run], undisturbed: Path, tmp_path: Path
) -> None:
    def work() -> None:
        def torn(path: Path, data: bytes) -> None:
            _half_written(path.with_name(f".{path.name}.partial"), data)

        if instant == "half a record":
            run_folder.write_atomically = torn  # type: ignore[assignment]
        else:
            RunFolder.write_record = lambda *_: kill_self()  # type: ignore[method-assign,assignment]
        begin()

    assert os.WIFSIGNALED(killed(work))
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(BadRun, match="begin the run without --resume"):
        begin(resume=True)
    begin()
    require_equal(tmp_path / "run", undisturbed)


def test_killed_in_the_reference_pass(
    base: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the killed pass had put into the cache is read; the bits are those of a whole pass."""
    from collimate.engine import store

    monkeypatch.setattr(store, "SEGMENT_BYTES", 256)
    cache = tmp_path / "cache"

    def work() -> None:
        store.LogProbStore._write = _nth(5, lambda *_: kill_self(), store.LogProbStore._write)  # type: ignore[method-assign]
        train(tmp_path / "run", model=base, cache=cache, **SETTINGS)

    assert os.WIFSIGNALED(killed(work))
    assert len(list(cache.rglob("*.safetensors"))) == 4
    run = train(tmp_path / "run", model=base, cache=cache, **SETTINGS)
    assert 0 < run.record["reference"]["from_cache"] < 54
    require_equal(run.folder, undisturbed)


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"dropout": True}], ids=["lora", "dropout"])
@pytest.mark.parametrize("lines", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_what_is_random_goes_on_where_it_was(
    lines: int, options: dict[str, Any], tmp_path: Path
) -> None:
    """Before the first checkpoint (every 3 steps) and after it."""
    model = saved(tmp_path / "model", name="gpt2" if "dropout" in options else "llama")
    held_out = {"evaluation": None, "evaluate_every": None}
    named = {**SETTINGS, "max_steps": 8, **held_out, "samples": 0, **options}
    whole = train(tmp_path / "whole", model=model, **named)
    folder = tmp_path / "run"
    status = killed(lambda: train(folder, model=model, **named), lambda: lines_in(folder) >= lines)
    if os.WIFSIGNALED(status):
        torch.manual_seed(99)
        train(folder, model=model, **named, resume=True)
    assert weights_of(folder) == weights_of(whole.folder)
    assert metrics_of(folder) == metrics_of(whole.folder)


def interrupted_at(step: int, begin: Callable[[], collimate.Run], times: int = 1) -> collimate.Run:
    """A run that gets Ctrl-C during a step."""
    sound = RunFolder.append_metrics

    def append(folder: RunFolder, line: Mapping[str, Any]) -> None:
        sound(folder, line)
        if line["step"] == step and "loss" in line:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", append)
        return begin()


@pytest.fixture(scope="module")
def stopped_once(
    base: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> collimate.Run:
    """A stopped run that no test may change."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    return interrupted_at(5, lambda: train(out, model=base, cache=cache, **SETTINGS))


class TestStopped:
    @pytest.fixture
    def stopped(self, stopped_once: collimate.Run, tmp_path: Path) -> collimate.Run:
        """A run that got Ctrl-C during its fifth step."""
        folder = Path(shutil.copytree(stopped_once.folder, tmp_path / "run"))
        return replace(stopped_once, folder=folder)

    def test_ctrl_c_stops_after_the_step(
        self, stopped: collimate.Run, begin: Callable[..., collimate.Run], undisturbed: Path
    ) -> None:
        record = record_of(stopped.folder)
        assert record["status"] == "stopped"
        assert record["steps"] == 5
        assert record["error"] is None
        assert not (stopped.folder / "model").exists()
        assert metrics_of(stopped) == metrics_of(undisturbed)[: len(metrics_of(stopped))]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        begin(resume=True)
        require_equal(stopped.folder, undisturbed)

    @pytest.mark.parametrize(
        "changed",
        [
            {"data": text_pairs(seed=7)},
            {"method": methods.dpo(0.1000001)},
            {"learning_rate": 2e-3},
            {"model": policy(seed=1)},
            {"lora_rank": 2},
            *(
                pytest.param(changed, marks=pytest.mark.slow)
                for changed in (
                    {"method": methods.dpo(0.2)},
                    {"method": methods.ipo(0.1)},
                    {"method": methods.cdpo(0.1, 0.1)},
                    {"reference": policy(seed=1)},
                    {"batch_size": 4},
                    {"max_steps": STEPS + 1},
                    {"seed": 1},
                    {"schedule": "linear"},
                    {"warmup": 0.5},
                    {"weight_decay": 0.1},
                    {"max_gradient_norm": 0.5},
                    {"precision": "bf16"},
                    {"dropout": True},
                    {"tokens_per_micro_batch": 64},
                    {"evaluation": text_pairs(6, seed=3)},
                )
            ),
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_another_run_cannot_go_on_here(
        self,
        changed: dict[str, Any],
        stopped_once: collimate.Run,
        base: Path,
        cache: Path,
    ) -> None:
        stopped = stopped_once
        before = contents(stopped.folder)
        with pytest.raises(BadRun, match=r"belongs to another run.*start a new folder"):
            train(
                stopped.folder,
                **{"model": base, "cache": cache, **SETTINGS, **changed, "resume": True},
            )
        assert contents(stopped.folder) == before

    def test_another_function_of_the_same_name_cannot_go_on(
        self, base: Path, cache: Path, tmp_path: Path
    ) -> None:
        def one(view: PairLogProbs) -> Tensor:
            return -0.1 * (view.policy_chosen - view.policy_rejected)

        def other(view: PairLogProbs) -> Tensor:
            return -0.2 * (view.policy_chosen - view.policy_rejected)

        other.__name__ = other.__qualname__ = one.__name__
        named = {**SETTINGS, "model": base, "cache": cache}
        interrupted_at(3, lambda: train(tmp_path / "run", method=one, **named))
        with pytest.raises(BadRun, match="belongs to another run"):
            train(tmp_path / "run", method=other, resume=True, **named)
        assert train(tmp_path / "run", method=one, resume=True, **named).record["steps"] == STEPS

    def test_it_can_only_be_resumed(
        self, stopped: collimate.Run, begin: Callable[..., collimate.Run]
    ) -> None:
        with pytest.raises(BadRun, match="already holds a run: continue it with --resume"):
            begin()

    @pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
    @pytest.mark.parametrize("size", [pytest.param(0, marks=pytest.mark.slow), -9])
    def test_a_truncated_checkpoint_is_refused_by_name(
        self,
        name: str,
        size: int,
        stopped: collimate.Run,
        begin: Callable[..., collimate.Run],
        undisturbed: Path,
    ) -> None:
        newest = sorted((stopped.folder / "checkpoints").iterdir())[-1]
        assert newest.name == "step-00000005"
        path = newest / name
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(
            BadRun, match=rf"checkpoint .*{newest.name} is damaged.*delete that folder"
        ):
            begin(resume=True)
        shutil.rmtree(newest)
        begin(resume=True)  # from step 3
        require_equal(stopped.folder, undisturbed)

    def test_a_damaged_record_is_refused(
        self, stopped: collimate.Run, begin: Callable[..., collimate.Run]
    ) -> None:
        path = stopped.folder / "run.json"
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(BadRun, match="not valid JSON"):
            begin(resume=True)
        path.write_text('{"schema_version": 99}')
        with pytest.raises(BadRun, match="schema_version 99"):
            begin(resume=True)

    def test_without_any_checkpoint_it_begins_at_step_1(
        self,
        stopped: collimate.Run,
        begin: Callable[..., collimate.Run],
        undisturbed: Path,
    ) -> None:
        shutil.rmtree(stopped.folder / "checkpoints")
        begin(resume=True)
        require_equal(stopped.folder, undisturbed)

    def test_time_adds_up_and_samples_are_those_it_began_with(
        self, stopped: collimate.Run, begin: Callable[..., collimate.Run]
    ) -> None:
        before = record_of(stopped.folder)
        assert before["phases"]["train"] > 0
        after = begin(resume=True, samples=2).record
        assert after["status"] == "finished"
        assert [bool(sample["after"] is not None) for sample in after["samples"]] == [True]
        assert after["seconds"] > before["seconds"]
        assert after["phases"]["train"] > before["phases"]["train"]

    def test_keep_counts_the_newest(
        self, stopped: collimate.Run, begin: Callable[..., collimate.Run]
    ) -> None:
        names = sorted(path.name for path in (stopped.folder / "checkpoints").iterdir())
        assert names == ["step-00000003", "step-00000005"]
        begin(resume=True, keep=1)
        assert [p.name for p in (stopped.folder / "checkpoints").iterdir()] == ["step-00000012"]


def test_a_second_ctrl_c_stops_at_once(
    begin: Callable[..., collimate.Run], undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(4, begin, times=2)
    record = record_of(tmp_path / "run")
    assert (record["status"], record["error"]) == ("failed", "interrupted")
    begin(resume=True)
    require_equal(tmp_path / "run", undisturbed)


def test_ctrl_c_before_the_first_step(
    begin: Callable[..., collimate.Run],
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_job.Job, "_samples_before", interrupted)
        with pytest.raises(KeyboardInterrupt):
            begin()
    assert not (tmp_path / "run" / "run.json").exists()
    begin()
    require_equal(tmp_path / "run", undisturbed)


def test_a_finished_run_is_not_resumed(undisturbed: Path, base: Path, cache: Path) -> None:
    before = contents(undisturbed)
    with pytest.raises(BadRun, match="is finished: nothing to resume"):
        train(undisturbed, model=base, cache=cache, **SETTINGS, resume=True)
    assert contents(undisturbed) == before


def test_nothing_to_resume(base: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"holds no run \(no run.json\)"):
        train(tmp_path / "nowhere", model=base, resume=True)
    assert not (tmp_path / "nowhere").exists()


@dataclass
class Fragile:
    """A method whose loss breaks at a step, unless it is mended; it counts its steps."""

    mended: ClassVar[bool] = False  # not a field: the mended method is the same method

    at: int
    how: str
    name: str = "fragile"
    needs: Needs = field(default_factory=Needs)

    def __call__(self, view: PairLogProbs, /) -> Tensor:
        chosen, rejected = view.log_ratios()
        return torch.nn.functional.softplus(-(chosen - rejected))

    def init(self) -> State:
        return {"steps": 0.0}

    def terms(self, view: PairLogProbs, state: State, /) -> Mapping[str, Term]:
        values = self(view)
        if state["steps"] == self.at and not self.mended:
            if self.how == "error":
                raise ValueError("the method has a bug")
            if self.how == "gradient":  # a finite loss whose gradient is not
                zero = (view.policy_chosen - view.policy_chosen.detach()).abs()
                values = values + zero.sqrt()
            else:
                values = values * float(self.how)
        return {"loss": Term(1.0, values, torch.ones_like(values))}

    def update(self, view: PairLogProbs, state: State, /) -> State:
        return {"steps": state["steps"] + 1}

    def measure(self, view: PairLogProbs, state: State, /) -> Mapping[str, Tensor]:
        return {}


class TestFailed:
    @pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
    def test_a_loss_that_is_not_finite(
        self,
        how: str,
        base: Path,
        cache: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        named = {**SETTINGS, "model": base, "cache": cache}
        with monkeypatch.context() as patch:
            patch.setattr(Fragile, "mended", True)
            whole = train(tmp_path / "whole", method=Fragile(at=7, how=how), **named)
        folder = tmp_path / "run"
        with pytest.raises(
            TrainingFailed, match=r"step 8: .*not taken.*Rows of the step: \d+(, \d+)*"
        ):
            train(folder, method=Fragile(at=7, how=how), **named)
        record = record_of(folder)
        assert record["status"] == "failed"
        assert record["error"].startswith("step 8: the loss is")
        assert record["steps"] == 7
        rows = record["error"].split("Rows of the step: ")[1].split(".")[0]
        assert len(rows.split(", ")) == 8
        assert all(0 <= int(row) < 48 for row in rows.split(", "))
        assert [line["step"] for line in metrics_of(folder) if "loss" in line] == list(range(1, 8))
        newest = sorted((folder / "checkpoints").iterdir())[-1]
        assert newest.name == "step-00000006"
        monkeypatch.setattr(Fragile, "mended", True)
        train(folder, method=Fragile(at=7, how=how), **named, resume=True)
        require_equal(folder, whole.folder)

    def test_an_error_of_the_method_is_recorded_and_raised(
        self, base: Path, cache: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="the method has a bug"):
            train(
                tmp_path / "run",
                model=base,
                cache=cache,
                method=Fragile(at=2, how="error"),
                **SETTINGS,
            )
        record = record_of(tmp_path / "run")
        assert record["status"] == "failed"
        assert record["error"] == "ValueError: the method has a bug"

    def test_a_full_disk_names_the_folder_and_keeps_the_older_checkpoint(
        self,
        begin: Callable[..., collimate.Run],
        undisturbed: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def full(*_: Any) -> NoReturn:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_save", _nth(5, full, checkpoint._save))
            with pytest.raises(BadRun, match=r"cannot write a checkpoint to .*No space left"):
                begin()
        folder = tmp_path / "run"
        assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-00000003"]
        assert record_of(folder)["status"] == "failed"
        begin(resume=True)
        require_equal(folder, undisturbed)


def test_the_killed_children_really_share_nothing(tmp_path: Path) -> None:
    """`killed` itself: the status tells a kill from an end, and the parent is untouched."""
    assert killed(lambda: None) == 0
    assert os.WTERMSIG(killed(kill_self)) == signal.SIGKILL
    assert os.WTERMSIG(killed(lambda: time.sleep(30), lambda: True)) == signal.SIGKILL
    assert os.WEXITSTATUS(killed(lambda: 1 / 0)) == 1
    assert issubclass(BadRun, CollimateError)
