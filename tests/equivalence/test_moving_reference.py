"""TR-DPO: a reference that follows the policy, weight by weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from collimate import methods
from collimate._checks import BadConfig, BadModel
from collimate.axes import ReferenceUpdate
from collimate.engine.moving import move_reference
from tests.engine.tiny import difference, model_of
from tests.equivalence.runs import metrics_of, policy, stop_before, text_pairs, train

ROWS = text_pairs(24)


def test_a_reference_moves_by_its_share() -> None:
    reference, trained = model_of("llama"), model_of("llama", seed=1)
    before = {name: p.detach().clone() for name, p in reference.named_parameters()}
    move_reference(reference, trained, ReferenceUpdate(alpha=0.25, every=1))
    weights = dict(trained.named_parameters())
    wanted = {name: 0.75 * p + 0.25 * weights[name].detach() for name, p in before.items()}
    assert difference({n: p.detach() for n, p in reference.named_parameters()}, wanted) < 1e-6
    move_reference(reference, trained, ReferenceUpdate(alpha=1.0, every=1))
    assert all(torch.equal(p, weights[name]) for name, p in reference.named_parameters())


def losses(run: object) -> list[float]:
    return [line["loss"] for line in metrics_of(run)]


def test_before_its_first_update_it_is_dpo_and_then_starts_anew(tmp_path: Path) -> None:
    """The hard update at step 3 puts the reference where the policy is: log-ratios begin at 0 again."""
    common = {"data": ROWS, "evaluation": ROWS[:6], "max_steps": 6}
    moving = train(tmp_path / "a", method=methods.tr_dpo(0.5, alpha=1.0, tau=3), **common)
    plain = train(tmp_path / "b", method=methods.dpo(0.5), **common)
    assert losses(moving)[:3] == pytest.approx(losses(plain)[:3], abs=1e-6)
    ratios = [
        [abs(line["log_ratio_chosen"]) for line in metrics_of(run)] for run in (moving, plain)
    ]
    assert ratios[0][3] < 1e-5 < 1e-2 < ratios[1][3]
    assert losses(moving)[3] == pytest.approx(0.6931472, abs=1e-5)
    assert moving.record["reference"]["computed"] == moving.record["reference"]["from_cache"] == 0
    assert moving.record["sizes"]["reference"] > 0
    assert moving.record["evaluation"]["before"]["loss"] == pytest.approx(0.6931472, abs=1e-5)
    after = (run.record["evaluation"]["after"] for run in (moving, plain))
    assert abs(next(after)["log_ratio_chosen"]) < abs(next(after)["log_ratio_chosen"])


def test_a_resumed_run_has_the_reference_of_the_undisturbed_one(tmp_path: Path) -> None:
    common = {"data": ROWS, "max_steps": 8, "checkpoint_every": 3, "keep": 9}
    method = methods.tr_dpo(0.5, alpha=0.6, tau=2)
    whole = train(tmp_path / "whole", method=method, **common)
    cut = train(tmp_path / "cut", method=method, **common)
    stop_before(cut.folder, 8, 6)
    resumed = train(tmp_path / "cut", method=method, resume=True, **common)
    found, wanted = (
        load_file(run.folder / "model" / "model.safetensors") for run in (resumed, whole)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert losses(resumed) == losses(whole)


def test_what_cannot_follow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="needs all of its weights trained"):
        train(tmp_path / "a", data=ROWS, method="tr_dpo", lora_rank=2)
    with pytest.raises(BadModel, match="must be of its architecture"):
        train(tmp_path / "b", data=ROWS, method="tr_dpo", reference=policy("llama_tied"))
    for bad in ({"alpha": 0.0}, {"alpha": 1.5}, {"tau": 0}):
        with pytest.raises(BadConfig):
            methods.tr_dpo(**bad)
