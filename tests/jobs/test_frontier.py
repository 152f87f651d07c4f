"""Sweeps: ordinary runs, one reference, a front, and nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import collimate
from collimate import methods
from collimate._checks import BadConfig, BadModel, BadRun, MissingExtra
from collimate.divergences import reverse_kl
from collimate.lab import World
from collimate.tradeoffs import front
from tests.equivalence.runs import (
    policy,
    record_of,
    saved,
    sums,
    text_pairs,
    train,
    weights_of,
    word_tokenizer,
)

HELD_OUT = text_pairs(12, seed=1)
GOALS = ("reward_accuracy", "calibration_error")


def sweep(out: Path, **given: Any) -> collimate.Sweep:
    """2 methods × 2 betas × 2 seeds of a tiny model."""
    settings: dict[str, Any] = {
        "methods": ["dpo", "ipo"],
        "beta": [0.1, 1.0],
        "seeds": [0, 1],
        "objectives": GOALS,
        "evaluation": HELD_OUT,
        "tokenizer": word_tokenizer(),
        "batch_size": 8,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "samples": 0,
        "device": "cpu",
        "tokens_per_micro_batch": 96,
        "progress": False,
        "report": False,
    }
    settings.update(given)
    model, data = settings.pop("model", None), settings.pop("data", text_pairs())
    return collimate.frontier(model or policy(), data, out=out, **settings)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> collimate.Sweep:
    return sweep(tmp_path_factory.mktemp("sweeps") / "one")


def runs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for setting in record["settings"] for run in setting["runs"]]


def stamps(folder: Path) -> dict[str, int]:
    return {
        str(p.parent.name): p.stat().st_mtime_ns for p in sorted(folder.glob("runs/*/run.json"))
    }


@pytest.mark.slow
def test_every_setting_has_a_run_of_every_seed(done: collimate.Sweep) -> None:
    assert {one["name"] for one in done.record["settings"]} == {
        f"{method}, beta {beta}" for method in ("dpo", "ipo") for beta in ("0.1", "1")
    }
    runs = runs_of(done.record)
    assert len(runs) == 8
    assert all(record_of(done.folder / run["folder"])["status"] == "finished" for run in runs)
    assert json.loads((done.folder / "frontier.json").read_text()) == done.record
    assert done.record["status"] == "finished"


@pytest.mark.slow
def test_the_reference_is_computed_once_for_all_of_them(done: collimate.Sweep) -> None:
    folders = sorted(stamps(done.folder).items(), key=lambda item: item[1])
    computed = [
        record_of(done.folder / "runs" / name)["reference"]["computed"] for name, _ in folders
    ]
    assert computed[0] == len(text_pairs()) + len(HELD_OUT)
    assert computed[1:] == [0] * 7
    assert sum(run["reference_computed"] for run in runs_of(done.record)) == computed[0]


@pytest.mark.slow
def test_a_run_of_a_sweep_is_the_run_that_train_makes(
    done: collimate.Sweep, tmp_path: Path
) -> None:
    alone = train(
        tmp_path / "alone", method=methods.ipo(1.0), seed=1, evaluation=HELD_OUT, max_steps=3
    )
    swept = done.folder / "runs" / "ipo-beta1-seed1"
    assert weights_of(swept) == weights_of(alone.folder)
    assert record_of(swept)["evaluation"] == alone.record["evaluation"]
    assert record_of(swept)["identity"] == alone.record["identity"]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_calibration_is_of_the_implicit_reward_in_both_orders(
    beta: float, done: collimate.Sweep
) -> None:
    swept = done.folder / "runs" / f"dpo-beta{beta:g}-seed0"
    trained = AutoModelForCausalLM.from_pretrained(swept / "model").eval()
    ratios = [p - q for p, q in zip(sums(trained, HELD_OUT), sums(policy(), HELD_OUT), strict=True)]
    first = 1 / (1 + np.exp(-beta * (ratios[0] - ratios[1])))
    forecast, came_true = np.concatenate([first, 1 - first]), np.repeat([1.0, 0.0], len(first))
    bins = np.minimum((10 * forecast).astype(int), 9)
    off = [abs((came_true - forecast)[bins == b].sum()) for b in range(10)]
    error = record_of(swept)["evaluation"]["after"]["calibration_error"]
    assert error == pytest.approx(sum(off) / len(forecast), abs=1e-4)
    assert error > 0
    assert record_of(swept)["evaluation"]["before"]["calibration_error"] == 0.0  # all of them ½


@pytest.mark.slow
def test_the_front_is_that_of_the_records(done: collimate.Sweep) -> None:
    settings = done.record["settings"]
    points = np.empty((2, 4, 2))
    for j, setting in enumerate(settings):
        for run in setting["runs"]:
            after = record_of(done.folder / run["folder"])["evaluation"]["after"]
            points[run["seed"], j] = [after[name] for name in GOALS]
    expected = front(points, ["max", "min"], np.array([0.0, 1.0]))
    for j, setting in enumerate(settings):
        assert list(setting["mean"].values()) == pytest.approx(points.mean(0)[j].tolist())
        assert setting["on_front"] == expected.on_front[j]
        assert setting["frequency"] == expected.frequency[j]
        ends = np.array(list(setting["interval"].values()))
        assert ends == pytest.approx(np.stack([expected.low[j], expected.high[j]], -1))
    volume = done.record["hypervolume"]
    assert volume["value"] == expected.volume
    assert volume["interval"] == [expected.volume_low, expected.volume_high]
    assert volume["reference"] == {"reward_accuracy": 0.0, "calibration_error": 1.0}
    assert volume["measured"] == []
    assert done.front is not None
    assert done.front.volume == expected.volume


@pytest.mark.slow
def test_a_model_object_is_left_as_it_was(tmp_path: Path) -> None:
    given = policy()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    collimate.frontier(
        given, text_pairs(), out=tmp_path / "s", tokenizer=word_tokenizer(), beta=1.0, seeds=0,
        evaluation=HELD_OUT, max_steps=1, batch_size=8, samples=0, device="cpu", progress=False,
        report=False,
    )  # fmt: skip
    assert all(tensor.equal(before[name]) for name, tensor in given.state_dict().items())


# Going on


@pytest.mark.slow
def test_a_finished_sweep_is_read_again_and_nothing_is_trained(
    done: collimate.Sweep, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(done.folder, tmp_path / "one"))
    before = stamps(copy)
    again = sweep(copy, resume=True)
    assert stamps(copy) == before
    assert again.record == done.record
    other = sweep(copy, resume=True, objectives=["likelihood_accuracy", "cost"], seeds=[0])
    assert stamps(copy) == before
    assert [o["name"] for o in other.record["objectives"]] == ["likelihood_accuracy", "cost"]
    assert other.record["hypervolume"]["measured"] == ["cost"]


@pytest.mark.slow
def test_a_sweep_that_was_cut_goes_on_to_the_same_and_repeats_no_finished_run(
    done: collimate.Sweep, tmp_path: Path
) -> None:
    """As after a kill in the fifth run: its checkpoint is there, the later ones are not."""
    copy = Path(shutil.copytree(done.folder, tmp_path / "one"))
    order = [run["folder"] for run in runs_of(done.record)]
    cut = copy / order[4]
    record = record_of(cut)
    shutil.rmtree(cut / "checkpoints" / "step-00000003")
    shutil.rmtree(cut / "model")
    (cut / "run.json").write_text(json.dumps({**record, "status": "running"}))
    for name in order[5:]:
        shutil.rmtree(copy / name)
    running = {**done.record, "status": "running", "settings": done.record["settings"][:2]}
    (copy / "frontier.json").write_text(json.dumps(running))
    before = stamps(copy)
    again = sweep(copy, resume=True)
    after = stamps(copy)
    assert all(after[Path(name).name] == before[Path(name).name] for name in order[:4])
    assert all(weights_of(copy / name) == weights_of(done.folder / name) for name in order)
    assert sum(record_of(copy / name)["reference"]["computed"] for name in order[4:]) == 0
    for name in ("settings", "hypervolume"):
        timeless = json.loads(json.dumps(again.record[name]))
        expected = json.loads(json.dumps(done.record[name]))
        for one in (timeless, expected):
            for setting in one if name == "settings" else []:
                for run in setting["runs"]:
                    run.pop("seconds")
        assert timeless == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_steps": 4}, "max_steps differ"),
        ({"evaluation": HELD_OUT[:6], "seeds": [0, 1, 2]}, "has another evaluation data"),
        ({"resume": False}, "already holds a sweep"),
    ],
    ids=["settings", "data", "no resume"],
)
def test_another_sweep_does_not_go_on(
    changes: dict[str, Any], words: str, done: collimate.Sweep, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(done.folder, tmp_path / "one"))
    with pytest.raises(BadRun, match=words):
        sweep(copy, **{"resume": True, **changes})


@pytest.mark.slow
def test_a_method_or_settings_that_changed_behind_its_name_are_noticed(tmp_path: Path) -> None:
    """Also of a sweep that was killed before its record was written."""
    few: dict[str, Any] = {"beta": [0.1], "seeds": [0]}
    sweep(tmp_path / "one", methods={"m": methods.dpo}, **few)
    few["resume"] = True
    with pytest.raises(BadRun, match="was trained otherwise \\(method\\)"):
        sweep(tmp_path / "one", methods={"m": methods.ipo}, **few)
    (tmp_path / "one" / "frontier.json").unlink()
    with pytest.raises(BadRun, match="was trained otherwise \\(learning_rate\\)"):
        sweep(tmp_path / "one", methods={"m": methods.dpo}, learning_rate=0.5, **few)
    sweep(tmp_path / "one", methods={"m": methods.dpo}, **few)


@pytest.mark.slow
def test_another_model_in_the_same_folder_is_noticed(tmp_path: Path) -> None:
    model = saved(tmp_path / "model")
    sweep(tmp_path / "one", model=model, beta=[0.1], seeds=[0])
    saved(tmp_path / "model", seed=1)
    with pytest.raises(BadRun, match="has another model than"):
        sweep(tmp_path / "one", model=model, beta=[0.1, 0.2], seeds=[0], resume=True)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 9}', '{"schema_version": 1}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "frontier.json").write_text(content)
    with pytest.raises(BadRun, match=r"frontier\.json"):
        sweep(tmp_path, resume=True)


def test_a_folder_without_a_sweep_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(BadRun, match="holds no sweep"):
        sweep(tmp_path, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadRun, match="not an empty folder"):
        sweep(tmp_path)


# Failures


def diverging(beta: float) -> Callable[..., Any]:
    def loss(view: Any) -> Any:
        return (view.policy_chosen - view.policy_rejected) * (1.0 if beta < 0.5 else float("nan"))

    return loss


@pytest.mark.slow
def test_a_setting_that_fails_does_not_lose_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A loss of NaN skips every step, and label smoothing of one half is refused."""
    given = {
        "mine": diverging,
        "bad": lambda: methods.cdpo(label_smoothing=0.5),
        "dpo": methods.dpo,
    }
    found = sweep(
        tmp_path / "s", methods=given, objectives=["reward_accuracy", "mean_log_ratio"], seeds=[0],
        max_skipped_steps=1, progress=True,
    )  # fmt: skip
    settings = {one["name"]: one for one in found.record["settings"]}
    failed = {name: one["error"] for name, one in settings.items() if one["status"] == "failed"}
    assert sorted(failed) == ["bad", "mine, beta 1"]
    assert "label_smoothing" in failed["bad"]
    assert "the loss is nan" in failed["mine, beta 1"]
    assert {name for name, one in settings.items() if one["mean"]} == {
        "mine, beta 0.1", "dpo, beta 0.1", "dpo, beta 1"
    }  # fmt: skip
    assert found.record["status"] == "finished"
    said = " ".join(capfd.readouterr().err.split())
    assert "bad failed: label_smoothing" in said
    assert "Trial" not in said
    assert "study" not in said


@pytest.mark.slow
def test_what_a_method_cannot_be_measured_by_is_said(tmp_path: Path) -> None:
    """Without a reference there is no log-ratio: made up it would be nothing."""
    found = sweep(tmp_path / "s", methods=["dpo", "simpo"], beta=1.0, seeds=0,
                  objectives=["reward_accuracy", "cost"])  # fmt: skip
    (failed,) = (one for one in found.record["settings"] if one["status"] == "failed")
    assert failed["name"] == "simpo, beta 1"
    assert "a method without a reference" in failed["error"]


def test_where_nothing_can_be_trained_the_first_error_is_told_and_nothing_left(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadModel, match="nowhere"):
        collimate.frontier("nowhere", text_pairs(), out=tmp_path / "s", evaluation=HELD_OUT,
                           progress=False, report=False)  # fmt: skip
    with pytest.raises(BadConfig, match="label_smoothing"):
        sweep(tmp_path / "s", methods={"bad": lambda: methods.cdpo(label_smoothing=0.5)})
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_run_that_is_stopped_stops_the_sweep_which_then_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in a step of the first run, which its loss sends where a gradient is asked for."""
    flag = tmp_path / "armed"
    flag.touch()

    def stop(view: Any) -> Any:
        if view.policy_chosen.requires_grad and flag.exists():
            flag.unlink()
            os.kill(os.getpid(), signal.SIGINT)
        return -(view.policy_chosen - view.policy_rejected)

    given: dict[str, Any] = {
        "methods": {"stop": lambda: stop, "dpo": methods.dpo},
        "beta": 1.0,
        "seeds": 0,
        "objectives": ["reward_accuracy", "mean_log_ratio"],
    }
    found = sweep(tmp_path / "s", **given)
    assert found.record["status"] == "stopped"
    assert json.loads((tmp_path / "s" / "frontier.json").read_text())["status"] == "stopped"
    assert [one["status"] for one in found.record["settings"]][-1] == "stopped"
    again = sweep(tmp_path / "s", resume=True, **given)
    assert again.record["status"] == "finished"
    assert sorted(run["folder"] for run in runs_of(again.record)) == [
        "runs/dpo-beta1-seed0",
        "runs/stop-seed0",
    ]


# Samplers, and what needs no model


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_a_sampler_asks_for_the_same_settings_again(sampler: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"sampler": sampler, "trials": 3, "seeds": 0, "max_steps": 1}
    one = sweep(tmp_path / "one", **given)
    assert 1 < len(one.record["settings"]) <= 3
    assert all(0.1 <= setting["beta"] <= 1.0 for setting in one.record["settings"])
    before = stamps(one.folder)
    assert sweep(one.folder, resume=True, **given).record == one.record
    assert stamps(one.folder) == before
    more = sweep(one.folder, resume=True, **{**given, "trials": 4})
    assert {k: v for k, v in stamps(one.folder).items() if k in before} == before
    names = [setting["name"] for setting in more.record["settings"]]
    assert names[: len(before)] == [setting["name"] for setting in one.record["settings"]]


@pytest.mark.slow
def test_a_method_without_beta_is_one_setting(tmp_path: Path) -> None:
    found = sweep(tmp_path / "s", methods=["orpo", "dpo"], seeds=0, max_steps=1,
                  objectives=["likelihood_accuracy", "cost"])  # fmt: skip
    names = sorted(one["name"] for one in found.record["settings"])
    assert names == ["dpo, beta 0.1", "dpo, beta 1", "orpo"]


EXACT = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])).frontier(reverse_kl)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"methods": []}, "methods must be a list"),
    ({"methods": "dpo"}, "methods must be a list"),
    ({"methods": ["dpo", "dpo"]}, "different names"),
    ({"methods": ["dpoo"]}, "did you mean 'dpo'"),
    ({"beta": []}, "beta must hold at least one"),
    ({"beta": [0.1, 0.1]}, "each value once"),
    ({"beta": [0.0]}, "beta must be finite and above 0"),
    ({"seeds": [0, 0]}, "each value once"),
    ({"seeds": [-1]}, "seeds must be whole numbers"),
    ({"seed": 1}, "give seeds instead"),
    ({"objectives": ["reward_accuracy"]}, "two to 5 objectives"),
    ({"objectives": ["reward", "cost"]}, "unknown objective 'reward'"),
    ({"objectives": ["cost:up", "reward_accuracy"]}, "NAME:max or NAME:min"),
    ({"objectives": "cost"}, "list of names"),
    ({"objectives": ["kl", "reward_accuracy"]}, "kl_samples"),
    ({"evaluation": None}, "held-out data"),
    ({"evaluation": None, "objectives": ["cost", "kl"], "kl_samples": 2}, "held-out prompts"),
    ({"worst": {"cost": 1.0}}, "no objective of this sweep"),
    ({"worst": {"reward_accuracy": float("nan")}}, "finite number"),
    ({"sampler": "tpe"}, "sampler must be one of"),
    ({"sampler": "random", "beta": 0.1}, "give its two ends"),
    ({"trials": 0}, "trials must be a whole number"),
    ({"kl_samples": -1}, "kl_samples must be a whole number"),
    ({"exact": EXACT}, "kl and reward"),
    ({"batch_size": 0}, "batch_size"),
    ({"measure": lambda run: {}, "objectives": ["mine", "cost"]}, "say which way is better"),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_arguments_are_refused_before_anything_is_loaded(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match=words):
        sweep(tmp_path / "s", **changes)
    assert not (tmp_path / "s").exists()


def test_without_optuna_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"collimate\[frontier\]"):
        sweep(tmp_path / "s")


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadConfig, match="one process"):
        sweep(tmp_path / "s")
