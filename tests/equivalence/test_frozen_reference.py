"""The reference as a model beside the policy: a copy that stays as it is, and costs what it must."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from collimate import methods
from collimate._checks import BadModel
from collimate.compose import Objective
from collimate.engine.evaluate import log_probs, outputs
from collimate.engine.load import add_lora
from collimate.engine.model import LogProbModel
from collimate.engine.runtime import Runtime
from collimate.engine.step import signals_of
from collimate.jobs.reference import frozen_reference
from collimate.jobs.settings import TrainSettings
from tests.engine.tiny import model_of, pairs, plain_log_probs
from tests.equivalence.runs import (
    metrics_of,
    policy,
    saved,
    text_pairs,
    train,
    word_tokenizer,
)

ROWS = text_pairs(24)


def frozen_of(model: torch.nn.Module, **settings: object) -> torch.nn.Module:
    runtime = Runtime(device="cpu", precision="fp32")
    found = frozen_reference(
        LogProbModel(model, shared=True),
        None,
        TrainSettings(**settings),
        tokenizer=word_tokenizer(),
        examples=[],
        runtime=runtime,
    )
    return found.model


def test_full_training_gets_a_copy_and_lora_the_weights_themselves() -> None:
    model = model_of("llama")
    copied, shared = frozen_of(model), frozen_of(model, lora_rank=2)
    for mine, copy, same in zip(
        model.parameters(), copied.parameters(), shared.parameters(), strict=True
    ):
        assert copy is not mine
        assert torch.equal(copy, mine)
        assert not copy.requires_grad
        assert same is mine
    adapted = add_lora(model, rank=2)
    assert sum("lora" in name for name, _ in adapted.named_parameters()) > 0
    assert not any("lora" in name for name, _ in shared.named_parameters())


def test_of_an_adapter_that_was_given_only_what_trains_is_copied() -> None:
    adapted = add_lora(model_of("llama"), rank=2)
    names = dict(adapted.named_parameters())
    for name, weight in frozen_of(adapted).named_parameters():
        assert (weight is names[name]) == ("lora" not in name)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 2])
def test_the_policy_as_passed_or_from_its_folder_is_one_reference(
    rank: int | None, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "model")
    given = {"data": ROWS, "evaluation": ROWS[:6], "method": methods.tdpo1(0.5), "lora_rank": rank}
    own = train(tmp_path / "own", model=str(folder), **given)
    named = train(tmp_path / "named", model=str(folder), reference=str(folder), **given)
    assert metrics_of(own) == metrics_of(named)
    first, *_, last = metrics_of(own)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-5)  # no KL to itself
    assert last["loss"] < first["loss"]
    assert (own.record["sizes"].get("reference", 0) > 0) == (rank is None)


def test_a_reference_in_bf16_gives_log_probs_in_float32() -> None:
    """Its logits are rounded; the softmax over them is not, nor the divergence of the two models."""
    model = model_of("llama", factor=3.0)
    rounded = model_of("llama", factor=3.0, dtype=torch.bfloat16).requires_grad_(False)
    frozen = LogProbModel(rounded, shared=True)
    examples = pairs(6)
    rows = log_probs(frozen, examples, budget=200, autocast=nullcontext)
    values = torch.from_numpy(np.concatenate([row for answers in rows for row in answers]))
    assert values.dtype == torch.float32
    assert (values != values.bfloat16().float()).double().mean() > 0.9
    exact = plain_log_probs(model, examples)
    assert 1e-4 < (values - exact).abs().median() < 0.1
    signals = signals_of(Objective.of(methods.tdpo()))
    engine = LogProbModel(model, shared=True)
    same = LogProbModel(model_of("llama", factor=3.0).requires_grad_(False), shared=True)
    kl, none = (outputs(engine, examples, signals, other)[1] for other in (frozen, same))
    assert kl.dtype == torch.float32
    assert none.abs().max() < 1e-6
    assert 0 < kl.min() <= kl.max() < 0.1  # what rounding to bf16 makes of this model
    kl.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
def test_a_run_takes_a_reference_in_bf16(tmp_path: Path) -> None:
    given = {"data": ROWS, "method": methods.tdpo1(0.5), "max_steps": 2}
    run = train(tmp_path / "run", reference=policy().bfloat16(), **given)
    first = metrics_of(run)[0]
    assert first["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert 0 < run.record["reference"]["first_step_max_log_ratio"] < 0.5


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    other = policy(vocab_size=100)
    with pytest.raises(BadModel, match=r"answers over \d+ tokens, the reference over 100"):
        train(tmp_path / "run", data=ROWS, method="tdpo", reference=other)


def test_the_policys_own_object_as_reference_is_the_policy_as_passed(tmp_path: Path) -> None:
    """The object is about to change: compared with itself, every KL would be 0 for ever."""
    given = {"data": ROWS, "method": methods.tdpo1(0.5), "max_steps": 3}
    model = policy()
    same = train(tmp_path / "same", model=model, reference=model, **given)
    none = train(tmp_path / "none", model=policy(), **given)
    assert metrics_of(same) == metrics_of(none)


def test_another_object_is_left_as_it_is_by_a_reference_that_moves(tmp_path: Path) -> None:
    other = policy(seed=5)
    before = [p.detach().clone() for p in other.parameters()]
    method = methods.tr_dpo(0.5, alpha=1.0, tau=1)
    train(tmp_path / "run", data=ROWS, method=method, reference=other, max_steps=2)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
