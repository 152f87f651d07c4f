"""A target with noise: the same in every micro-batch and after a resume, new in each step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from collimate import margins, methods
from collimate._checks import BadComposition, BadConfig, BadData
from collimate._types import PairLogProbs
from collimate.engine.noise import with_noise, without_noise
from collimate.lab import World, fit
from tests.engine.tiny import pairs
from tests.equivalence.runs import metrics_of, stop_before, text_pairs, train

METHOD = replace(
    methods.dpo(0.5), name="elastic_dpo", margin=margins.elastic(margins.log_ratio_gap, 0.3, 0.2)
)
ROWS = text_pairs(24)


def test_the_target_is_gamma_and_the_noise_of_each_pair() -> None:
    chosen, rejected, noise = torch.randn(3, 20, dtype=torch.float64).unbind()
    view = PairLogProbs(
        policy_chosen=chosen,
        policy_rejected=rejected,
        reference_chosen=rejected,
        reference_rejected=chosen,
        columns={"noise": noise},
    )
    z = 0.5 * 2 * (chosen - rejected) - 0.3 - 0.2 * noise
    torch.testing.assert_close(METHOD(view), torch.log1p(torch.exp(-z)), rtol=1e-10, atol=0)
    with pytest.raises(BadComposition, match="noise"):
        METHOD(replace(view, columns={}))


def test_noise_is_standard_normal_and_new_in_each_step() -> None:
    drawn = np.array(
        [
            [example.columns["noise"] for example in with_noise(pairs(8), seed=3, step=step)]
            for step in range(500)
        ]
    )
    assert abs(drawn.mean()) < 0.05
    assert drawn.std() == pytest.approx(1, abs=0.05)
    assert len(np.unique(drawn)) == drawn.size
    again = with_noise(pairs(8), seed=3, step=7)
    assert [example.columns["noise"] for example in again] == drawn[7].tolist()
    assert {example.columns["noise"] for example in without_noise(pairs(8))} == {0.0}


@pytest.mark.slow
def test_a_run_resumes_to_the_same_bits_and_goes_by_its_seed(tmp_path: Path) -> None:
    common = {"data": ROWS, "method": METHOD, "max_steps": 6, "checkpoint_every": 2, "keep": 9}
    common |= {"evaluation": ROWS[:6]}
    whole = train(tmp_path / "whole", **common)
    cut = train(tmp_path / "cut", **common, tokens_per_micro_batch=40)
    other = train(tmp_path / "other", **common, seed=1)
    lines = [[line["loss"] for line in metrics_of(run)] for run in (whole, cut, other)]
    assert lines[0] == pytest.approx(lines[1], abs=1e-4)
    assert lines[0] != pytest.approx(lines[2], abs=1e-3)
    cut = train(tmp_path / "again", **common)
    stop_before(cut.folder, 6)
    resumed = train(tmp_path / "again", resume=True, **common)
    found, wanted = (
        load_file(run.folder / "model" / "model.safetensors") for run in (resumed, whole)
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    before = resumed.record["evaluation"]["before"]["loss"]
    assert before == pytest.approx(
        np.log1p(np.exp(0.3)), abs=1e-4
    )  # the mean target, without noise


def test_bad_targets_and_columns_are_refused(tmp_path: Path) -> None:
    for given in ((float("nan"), 0.1), (0.5, 0.0), (0.5, -1.0), (True, 0.1)):
        with pytest.raises(BadConfig):
            margins.elastic(margins.log_ratio_gap, *given)
    with pytest.raises(BadConfig, match="has a target already"):
        margins.elastic(METHOD.margin, 0.1, 0.1)
    for other in (margins.labelled_log_ratio, margins.ranked_log_ratios):
        with pytest.raises(BadConfig, match="give a margin of pairs"):
            margins.elastic(other, 0.1, 0.1)
    world = World(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]]))
    with pytest.raises(BadComposition, match="fit it at its mean"):
        fit(world, METHOD)
    with pytest.raises(BadData, match="rename it"):
        train(tmp_path / "run", data=[{**row, "noise": 1.0} for row in ROWS], method=METHOD)
