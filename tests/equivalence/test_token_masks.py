"""Masks that are read from the reference's layers: a step is that of plain autograd, a run resumes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from collimate import methods
from collimate._checks import BadComposition, BadConfig
from collimate.compose import Objective
from collimate.engine.model import LogProbModel
from collimate.engine.objective import objective_value
from collimate.engine.packing import step_batch
from collimate.engine.step import gradient_step, signals_of
from collimate.jobs._requirements import require_none_of_layers
from collimate.token_masks import activation_mask
from tests.engine.tiny import difference, gradients, model_of, pairs
from tests.equivalence.runs import metrics_of, stop_before, text_pairs, train
from tests.equivalence.test_steps import ONE_BY_ONE, WHOLE, reference_of

METHODS = {name: getattr(methods, name)() for name in ("sparse_po", "sparse_po_common", "mapo")}
ROWS = text_pairs(24)


def engine_of(model: Any, other: Any, method: Any, *, shared: bool) -> LogProbModel:
    engine = LogProbModel(model, shared=shared)
    torch.manual_seed(3)
    engine.read_layers(method.needs.signals, LogProbModel(other, shared=True))
    return engine


def by_plain_autograd(
    engine: LogProbModel, other: Any, method: Any, examples: Any, reference: Any
) -> tuple[float, dict[str, Tensor]]:
    names = ("log_prob", "forward_kl_to_reference", *engine.of_layers)
    columns: dict[str, list[Tensor]] = {name: [] for name in names}
    for one in examples:
        for answer in one.answers:
            row = torch.from_numpy(np.concatenate((one.prompt, answer.ids))).long()
            said = slice(len(one.prompt) - 1, -1)
            log_p = engine.model(input_ids=row[None]).logits[0, said].log_softmax(-1)
            with torch.no_grad():
                known = other(input_ids=row[None], output_hidden_states=True)
            log_q = known.logits[0, said].log_softmax(-1)
            layers = torch.stack([hidden[0, said] for hidden in known.hidden_states[1:]])
            columns["log_prob"].append(log_p.gather(1, row[len(one.prompt) :, None])[:, 0])
            columns["forward_kl_to_reference"].append((log_q.exp() * (log_q - log_p)).sum(-1))
            for name, module in engine.of_layers.items():
                columns[name].append(module(layers, torch.zeros(len(answer.ids)).long()))
    log_prob, *signals = (torch.cat(columns[name]) for name in names)
    flat = torch.from_numpy(np.concatenate([row for rows in reference for row in rows]))
    batch = step_batch(examples, log_prob, flat, dict(zip(names[1:], signals, strict=True)))
    loss = objective_value(Objective.of(method), batch, [method.init()])
    loss.backward()
    return loss.item(), gradients(engine)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_that_of_plain_autograd_whatever_its_micro_batches(name: str) -> None:
    method, examples = METHODS[name], pairs(8)
    model = model_of("gpt2", factor=3.0, dtype=torch.float64)
    other = model_of("gpt2", factor=3.0, dtype=torch.float64, seed=1).requires_grad_(False)
    reference = reference_of(other, examples)
    engine = engine_of(model, other, method, shared=True)
    loss, expected = by_plain_autograd(engine, other, method, examples, reference)
    assert any("of_layers" in key for key in expected) == (name != "mapo")
    for budget, shared in ((ONE_BY_ONE, True), (WHOLE, True), (60, False)):
        engine = engine_of(model, other, method, shared=shared)
        outcome = gradient_step(
            engine,
            Objective.of(method),
            examples,
            reference,
            [method.init()],
            budget=budget,
            autocast=nullcontext,
            frozen=LogProbModel(other, shared=True),
        )
        assert outcome.loss.item() == pytest.approx(loss, rel=1e-12, abs=1e-12)
        assert difference(gradients(engine), expected) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 2])
def test_a_resumed_run_has_the_masks_of_the_undisturbed_one(
    rank: int | None, tmp_path: Path
) -> None:
    common = {"data": ROWS, "max_steps": 6, "checkpoint_every": 2, "keep": 9, "lora_rank": rank}
    method = methods.sparse_po(0.5, l1=0.01)
    whole = train(tmp_path / "whole", method=method, **common)
    cut = train(tmp_path / "cut", method=method, **common)
    stop_before(cut.folder, 6)
    resumed = train(tmp_path / "cut", method=method, resume=True, **common)
    found, wanted = (
        load_file(run.folder / "checkpoints" / "step-00000006" / "model.safetensors")
        for run in (resumed, whole)
    )
    assert any(key.startswith("of_layers.kl_mask") for key in wanted)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    first, *_, last_line = metrics_of(resumed)
    assert 0 <= last_line["reward_mask_zero"] <= 1
    assert first["loss"] > last_line["loss"]
    (exported,) = (whole.folder / "model").glob("*.safetensors")
    with safe_open(exported, framework="pt") as file:
        assert not any("mask" in key for key in file.keys())  # noqa: SIM118 - the policy alone


def test_what_it_learns_is_counted_and_not_sharded(tmp_path: Path) -> None:
    plain, sparse = (
        train(tmp_path / name, data=ROWS, method=name, max_steps=1).record["model"]["trainable"]
        for name in ("dpo", "sparse_po")
    )
    assert sparse > plain
    model = model_of("gpt2")
    engine = engine_of(model, model, METHODS["sparse_po"], shared=True)
    with pytest.raises(BadConfig, match="use --parallel ddp"):
        require_none_of_layers(engine)
    require_none_of_layers(engine_of(model, model, METHODS["mapo"], shared=True))


def test_a_signal_of_layers_is_not_in_logits() -> None:
    assert activation_mask in signals_of(Objective.of(METHODS["mapo"]))
    with pytest.raises(BadComposition, match="hidden states"):
        activation_mask.value(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))
