"""beta_dpo: running statistics go on where they stood, and held-out losses can be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import collimate
from collimate import methods
from tests.equivalence.runs import (
    policy,
    require_equal,
    stop_before,
    sums,
    text_pairs,
    train,
)

pytestmark = pytest.mark.slow

ROWS, HELD_OUT = text_pairs(24), text_pairs(9, seed=1)
SEED = 3


def run(out: Path, **given: object) -> collimate.Run:
    """Eight steps of a beta that follows, so far apart are the gaps; seven of them keep half."""
    method = methods.beta_dpo(0.5, 0.6, share=0.5)
    settings = {"max_steps": 8, "checkpoint_every": 3, "keep": 9, "seed": SEED, **given}
    return train(out, data=ROWS, evaluation=HELD_OUT, method=method, **settings)


def test_a_resumed_run_comes_to_the_same_bits(tmp_path: Path) -> None:
    whole, cut = run(tmp_path / "whole"), run(tmp_path / "cut")
    stop_before(cut.folder, 8, 6)
    run(tmp_path / "cut", resume=True)
    require_equal(cut.folder, whole.folder)
    states = [
        json.loads((folder / "checkpoints" / "step-00000008" / "state.json").read_text())["states"]
        for folder in (cut.folder, whole.folder)
    ]
    assert states[0] == states[1]
    assert states[0][0]["steps"] == 8
    assert states[0][0]["seed"] == SEED


def test_the_held_out_loss_is_of_all_pairs_at_the_given_beta(tmp_path: Path) -> None:
    model = policy()
    before = sums(model, HELD_OUT)
    found = run(tmp_path / "run", model=model, learning_rate=3e-3, evaluate_every=4)
    for state, when in ((before, "before"), (sums(found.model, HELD_OUT), "after")):
        gap = (state[0] - before[0]) - (state[1] - before[1])
        loss = torch.nn.functional.softplus(torch.from_numpy(-0.5 * gap)).mean().item()
        assert found.record["evaluation"][when]["loss"] == pytest.approx(loss, rel=1e-5)
    assert abs(gap).max() > 0.1
