"""Stopped or failed: `resume` continues to the bits of an undisturbed run; see tests/chaos for kills."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import torch
from torch import Tensor

import collimate
from collimate import methods
from collimate._checks import BadRun, TrainingFailed
from collimate._types import PairLogProbs
from collimate.axes import Needs, State, Term
from collimate.engine.run_folder import RunFolder
from collimate.jobs import _job
from tests.equivalence.runs import (
    SETTINGS,
    STEPS,
    contents,
    metrics_of,
    policy,
    record_of,
    require_equal,
    saved,
    text_pairs,
    train,
)


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
        patch.setattr(_job, "samples_before", interrupted)
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
        named = {**SETTINGS, "model": base, "cache": cache, "max_skipped_steps": 0}
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
