"""Runs that share their reference through the cache: the second computes nothing at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import collimate
from collimate import divergences, methods
from collimate.engine.cache import cached_models
from collimate.jobs import prepare
from tests.equivalence.runs import metrics_of, policy, saved, text_pairs, train

pytestmark = pytest.mark.slow

ROWS, HELD_OUT = text_pairs(48), text_pairs(12, seed=1)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every pass through any transformers model while the reference is asked for, checks included."""
    seen: list[str] = []
    asked = False
    sound = prepare.reference_columns

    def columns(*given: Any) -> Any:
        nonlocal asked
        asked = True
        try:
            return sound(*given)
        finally:
            asked = False

    def count(module: Any, given: Any) -> None:
        if asked and isinstance(module, PreTrainedModel):
            seen.append(type(module).__name__)

    monkeypatch.setattr(prepare, "reference_columns", columns)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(count)
    yield seen
    hook.remove()


SECOND: dict[str, dict[str, Any]] = {
    "beta": {"method": methods.dpo(0.5)},
    "loss": {"method": methods.hinge_norm(0.1)},
    "method": {"method": methods.f_dpo(0.3, divergences.alpha(0.5))},
    "epochs": {"max_steps": None, "epochs": 2},
    "order": {"data": ROWS[::-1]},
    "subset": {"data": ROWS[5:25]},
    "train and held-out": {"data": HELD_OUT, "evaluation": ROWS[:6]},
    "limit": {"limit": 7},
    "adapter": {"lora_rank": 2},
    "micro-batches": {"tokens_per_micro_batch": 40},
    "bound": {"cache_gb": 0.0},
}


@pytest.mark.parametrize("changed", SECOND.values(), ids=SECOND)
def test_a_second_run_does_no_reference_forward(
    changed: dict[str, Any], tmp_path: Path, forwards: list[str]
) -> None:
    common: dict[str, Any] = {"data": ROWS, "evaluation": HELD_OUT, "max_steps": 1}
    first = train(tmp_path / "a", **common)
    assert first.record["reference"]["computed"] == 60
    assert len(forwards) > 5
    forwards.clear()
    second = train(tmp_path / "b", **{**common, **changed})
    assert forwards == []
    assert second.record["reference"]["computed"] == 0
    assert second.record["reference"]["from_cache"] > 0


def test_another_truncation_is_never_served_the_rows_of_the_first(
    tmp_path: Path, forwards: list[str]
) -> None:
    train(tmp_path / "a", data=ROWS, max_steps=1)
    forwards.clear()
    shorter: dict[str, Any] = {"max_answer": 3, "truncate_answers": True, "max_steps": 1}
    warm = train(tmp_path / "b", data=ROWS, **shorter)
    assert forwards
    assert warm.record["reference"]["computed"] > 0
    fresh = train(tmp_path / "c", data=ROWS, cache=tmp_path / "other", **shorter)
    # Answers that are short anyway are the first run's rows, of other micro-batches.
    (found,), (expected,) = metrics_of(warm), metrics_of(fresh)
    for name, value in expected.items():
        if name != "reward_accuracy":  # every log-ratio is 0 but for rounding
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("by", ["object", "folder"])
def test_a_reference_of_its_own_is_not_even_checked_again(
    by: str, tmp_path: Path, forwards: list[str]
) -> None:
    other = saved(tmp_path / "other", seed=9) if by == "folder" else policy(seed=9)
    first = train(tmp_path / "a", reference=other, max_steps=1)
    assert len(forwards) > 5
    forwards.clear()
    second = train(tmp_path / "b", reference=other, method=methods.ipo(0.2), max_steps=1)
    assert forwards == []
    assert second.record["reference"]["hash"] == first.record["reference"]["hash"]
    third = train(tmp_path / "c", reference=other, data=text_pairs(seed=5), max_steps=1)
    assert third.record["reference"]["computed"] == 48
    assert forwards


def test_a_reference_is_known_by_its_weights(tmp_path: Path, forwards: list[str]) -> None:
    """The policy of one run and the reference of another are the same model."""
    train(tmp_path / "a", max_steps=1)
    forwards.clear()
    folder = saved(tmp_path / "model")
    run = train(tmp_path / "b", model=policy(seed=4), reference=folder, max_steps=1)
    assert forwards == []
    assert run.record["reference"]["is_policy"] is False
    (model,) = cached_models(tmp_path / "cache")
    assert model.description["model"] == str(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a second process")
def test_another_process_computes_nothing_either(tmp_path: Path, forwards: list[str]) -> None:
    def run(name: str) -> collimate.Run:
        found = train(tmp_path / name, max_steps=1)
        (tmp_path / f"{name}.json").write_text(json.dumps(forwards))
        return found

    child = os.fork()
    if child == 0:
        try:
            run("child")
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must end here, whatever came
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(json.loads((tmp_path / "child.json").read_text())) > 5
    second = run("parent")
    assert forwards == []
    assert second.record["reference"]["computed"] == 0


def test_the_bound_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    one = train(tmp_path / "a", max_steps=1)
    other = train(tmp_path / "b", max_steps=1, cache_gb=1.0)
    assert one.record["config"]["cache_gb"] == 20.0
    assert other.record["config"]["cache_gb"] == 1.0
    assert one.record["identity"] == other.record["identity"]


def test_a_full_cache_gives_way_and_the_run_keeps_its_own(tmp_path: Path) -> None:
    named: dict[str, Any] = {"max_steps": 1, "cache": tmp_path / "cache"}
    train(tmp_path / "a", **named)
    train(tmp_path / "b", model=policy(seed=2), **named)
    sizes = {m.fingerprint: m.bytes for m in cached_models(tmp_path / "cache")}
    assert len(sizes) == 2
    again = train(tmp_path / "c", **named, method=methods.dpo(0.3))
    bound = (max(sizes.values()) * 2 + 1) / 2**30
    third = train(tmp_path / "d", model=policy(seed=3), **named, cache_gb=bound)
    left = [m.fingerprint for m in cached_models(tmp_path / "cache")]
    assert left == [third.record["model"]["hash"], again.record["model"]["hash"]]
    assert again.record["reference"]["computed"] == 0
