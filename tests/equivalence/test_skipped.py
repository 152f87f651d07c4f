"""Steps whose loss or gradient is not finite: skipped, counted, explained, the same when resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import collimate
from collimate import report
from collimate._checks import TrainingFailed
from collimate._types import PairLogProbs
from collimate.axes import Needs, ReferenceUpdate, State, Term
from collimate.compose import Method
from collimate.engine.plan import Plan
from tests.equivalence.runs import (
    PAIRS,
    contents,
    metrics_of,
    policy,
    record_of,
    tensors_of,
    text_pairs,
    train,
    weights_of,
)

pytestmark = pytest.mark.slow

STEPS, BATCH = 12, 8
POISONED = (8, 38)
ROWS = [{**row, "poison": float(i in POISONED)} for i, row in enumerate(text_pairs())]
PLAN = Plan(examples=PAIRS, batch_size=BATCH, steps=STEPS, seed=0)
SKIPPED = [i + 1 for i in range(STEPS) if set(POISONED) & set(PLAN.step(i).tolist())]
HOWS = ("loss nan", "loss inf", "gradient nan", "gradient inf")


@dataclass(frozen=True)
class Poisoned:
    """DPO's loss at beta 1, but for rows whose column `poison` is 1; it counts the steps taken."""

    how: str
    couples: Any = "example"
    update_of_reference: ReferenceUpdate | None = None
    name: str = "poisoned"

    @property
    def needs(self) -> Needs:
        return Needs(couples=self.couples, reference_update=self.update_of_reference)

    def __call__(self, view: PairLogProbs, /) -> Tensor:
        chosen, rejected = view.log_ratios()
        values = torch.nn.functional.softplus(-(chosen - rejected))
        bad = view.columns["poison"] > 0
        what, value = self.how.split()
        if what == "loss":
            return values * torch.ones_like(values).masked_fill(bad, float(value))
        if bad.any():  # a finite loss: the root of 0, whose slope is infinite, or 0 times that
            zero = view.policy_chosen - view.policy_chosen.detach()
            values = values + bad * (zero if value == "inf" else zero.abs()).sqrt()
        return values

    def init(self) -> State:
        return {"taken": 0.0}

    def terms(self, view: PairLogProbs, state: State, /) -> Mapping[str, Term]:
        values = self(view)
        return {"loss": Term(1.0, values, torch.ones_like(values))}

    def update(self, view: PairLogProbs, state: State, /) -> State:
        return {"taken": state["taken"] + 1}

    def measure(self, view: PairLogProbs, state: State, /) -> Mapping[str, Tensor]:
        return {}


def run(out: Path, how: str = "loss nan", **given: Any) -> collimate.Run:
    named = {"max_steps": STEPS, "batch_size": BATCH, "learning_rate": 1e-3, **given}
    method = Poisoned(how, named.pop("couples", "example"), named.pop("update", None))
    return train(out, data=ROWS, method=method, **named)


def state_of(folder: Path, step: int) -> dict[str, Any]:
    path = folder / "checkpoints" / f"step-{step:08d}" / "state.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_plan_has_steps_to_skip() -> None:
    assert 2 <= len(SKIPPED) <= 4
    assert 1 < SKIPPED[0] < SKIPPED[-1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("couples", ["example", "batch"])
@pytest.mark.parametrize("how", HOWS)
def test_a_skipped_step_changes_nothing_and_is_counted(
    how: str, couples: str, precision: str, tmp_path: Path
) -> None:
    out = run(
        tmp_path / "run", how, couples=couples, precision=precision, checkpoint_every=1, keep=STEPS
    )
    assert out.record["status"] == "finished"
    assert out.record["skipped_steps"] == record_of(out.folder)["skipped_steps"] == len(SKIPPED)
    files = {
        step: contents(out.folder / "checkpoints" / f"step-{step:08d}")
        for step in range(1, STEPS + 1)
    }
    for before, step in zip(range(1, STEPS), range(2, STEPS + 1), strict=True):
        for name in ("model.safetensors", "optimizer.safetensors"):
            unchanged = files[step][name] == files[before][name]
            assert unchanged is (step in SKIPPED), (name, step)
    taken = 0
    for line in metrics_of(out):
        assert line["skipped_steps"] == sum(step <= line["step"] for step in SKIPPED)
        taken += line["step"] not in SKIPPED
        state = state_of(out.folder, line["step"])
        assert state["skipped_steps"] == line["skipped_steps"]
        assert state["states"] == [{"taken": taken}]
        assert ("skipped" in line) is (line["step"] in SKIPPED)
        if "skipped" in line:
            assert (line["loss"] is None) is how.startswith("loss")
            assert line["gradient_norm"] is None
            assert line["rows"] == PLAN.step(line["step"] - 1).tolist()
    text = (out.folder / "metrics.jsonl").read_text(encoding="utf-8")
    json.loads(f"[{','.join(text.splitlines())}]", parse_constant=pytest.fail)  # no NaN in the file


def test_a_skipped_step_costs_a_moving_reference_no_move(tmp_path: Path) -> None:
    """The first skipped step is where a move would be due, were steps counted that are not taken."""
    update = ReferenceUpdate(alpha=1.0, every=SKIPPED[0])
    assert STEPS - len(SKIPPED) >= 2 * update.every
    out = run(tmp_path / "run", update=update, checkpoint_every=1, keep=STEPS)
    expected, taken, moves = tensors_of(policy()), 0, 0
    for step in range(1, STEPS + 1):
        folder = out.folder / "checkpoints" / f"step-{step:08d}"
        taken += step not in SKIPPED
        if step not in SKIPPED and taken % update.every == 0:
            expected, moves = load_file(folder / "model.safetensors"), moves + 1
        found = load_file(folder / "reference.safetensors")
        assert all(torch.equal(found[name], expected[name]) for name in found), step
    assert moves >= 2


def test_every_way_of_breaking_comes_to_the_same_weights(tmp_path: Path) -> None:
    hashes = {weights_of(run(tmp_path / how.replace(" ", "-"), how).folder) for how in HOWS}
    assert len(hashes) == 1


def test_a_skipped_step_has_a_line_whatever_log_every_is(tmp_path: Path) -> None:
    logged = [line["step"] for line in metrics_of(run(tmp_path / "run", log_every=5))]
    assert logged == sorted({5, 10, 12, *SKIPPED})


def test_past_the_limit_the_run_stops_and_a_larger_limit_goes_on_to_the_same_bits(
    tmp_path: Path,
) -> None:
    whole = run(tmp_path / "whole", max_skipped_steps=len(SKIPPED), checkpoint_every=3)
    assert whole.record["skipped_steps"] == len(SKIPPED)
    folder = tmp_path / "run"
    with pytest.raises(TrainingFailed) as caught:
        run(folder, max_skipped_steps=len(SKIPPED) - 1, checkpoint_every=3)
    said = str(caught.value)
    assert said.startswith(f"step {SKIPPED[-1]}: the loss is nan and the gradient norm nan")
    assert f"{len(SKIPPED) - 1} steps were skipped before" in said
    assert "max_skipped_steps" in said
    record = record_of(folder)
    assert (record["status"], record["error"]) == ("failed", said)
    assert record["skipped_steps"] == len(SKIPPED) - 1
    run(folder, checkpoint_every=3, resume=True)
    assert weights_of(folder) == weights_of(whole.folder)
    assert metrics_of(folder) == metrics_of(whole)
    assert record_of(folder)["skipped_steps"] == len(SKIPPED)


def test_at_limit_0_the_first_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=rf"step {SKIPPED[0]}: .*Rows of the step: \d"):
        run(tmp_path / "run", max_skipped_steps=0)
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == list(range(1, SKIPPED[0]))


def test_console_and_report_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(tmp_path / "run", "gradient inf", progress=True, report=True)
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("was skipped, its loss or gradient is not finite") == len(SKIPPED)
    sentence = f"{len(SKIPPED)} steps were skipped, first step {SKIPPED[0]}"
    assert f"warning: {sentence}" in told
    page = (out.folder / "report.html").read_text(encoding="utf-8")
    assert sentence in page
    assert "missing or not finite" not in page  # it is said once


def test_a_run_without_such_a_step_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = train(tmp_path / "run", max_steps=STEPS, progress=True, report=True)
    assert {line["skipped_steps"] for line in metrics_of(out)} == {0}
    assert "skipped" not in " ".join(report.summary_lines(report.load(out.folder)))
    assert "skipped" not in capsys.readouterr().err


# A loss that stands still


def alarms(run: collimate.Run) -> list[str]:
    lines = report.summary_lines(report.load(run.folder))
    return [line for line in lines if line.startswith("warning: ")]


STILL = {
    "learning rate below rounding": (
        {"learning_rate": 1e-12},
        "The loss stayed at 0.6931",
        "lost in the rounding of the weights",
    ),
    "a detached value": (
        {"method": Method.of(lambda view: view.policy_chosen.detach() * 0 + 0.25)},
        "The loss stayed at 0.25",
        "does not depend on the policy",
    ),
    "margins met": (
        {"method": Method.of(lambda view: torch.relu(view.policy_chosen - 1e6))},
        "The loss was exactly 0",
        "every pair meets its margin",
    ),
}


@pytest.mark.parametrize("name", STILL)
def test_a_loss_that_stands_still_is_explained_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, value, why = STILL[name]
    named = {"max_steps": 14, "schedule": "constant", "progress": True, "report": True, **given}
    out = train(tmp_path / "run", **named)
    (alarm,) = alarms(out)
    assert alarm.startswith(f"warning: {value}")
    assert why in alarm
    told = " ".join(capsys.readouterr().err.split())
    assert told.count(" ".join(value.split())) == 2  # while it trained, and at the end
    assert why in (out.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"batch_size": PAIRS, "epochs": 30, "max_steps": None},  # every step takes the same pairs
        {"learning_rate": 1e-5, "warmup": 0.9},
        {"precision": "bf16"},
        {"method": "ipo"},
    ],
    ids=["plain", "whole batch", "small steps", "bf16", "ipo"],
)
def test_a_healthy_run_raises_no_alarm(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"max_steps": 30, "progress": True, **given}
    out = train(tmp_path / "run", **named)
    assert alarms(out) == []
    assert "The loss" not in capsys.readouterr().err
