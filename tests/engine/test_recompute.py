"""Activation checkpointing: the same bits with less memory, whatever the layout."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from collimate._checks import BadModel
from collimate.engine import model as model_module
from collimate.engine.model import LogProbModel
from collimate.engine.packing import pack_plain, pack_shared
from collimate.engine.recompute import recomputed_layers
from tests.engine.tiny import difference, gradients, model_of, pairs
from tests.equivalence.runs import metrics_of, policy, train

EXAMPLES = pairs(6, longest=40)


def step(model: PreTrainedModel, *, shared: bool, recompute: bool) -> dict[str, Tensor]:
    """Gradients of an uneven mixture of log-probs."""
    packed = pack_shared(EXAMPLES) if shared else pack_plain(EXAMPLES)
    (values,) = LogProbModel(model, shared=shared, recompute=recompute)(packed)
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return gradients(model)


@pytest.mark.parametrize("name", ["llama", "llama_tied", "gemma2", "gemma3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "plain"])
def test_gradients_are_the_same_bits(name: str, shared: bool) -> None:
    model = model_of(name, factor=4.0)
    kept = step(model, shared=shared, recompute=False)
    again = step(model, shared=shared, recompute=True)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_layer_computed_again_attends_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: the second computation attends as the model does on its own."""
    model = model_of("llama", factor=4.0)
    kept = step(model, shared=True, recompute=False)
    monkeypatch.setattr(
        model_module,
        "recomputed_layers",
        lambda backbone, context: recomputed_layers(backbone, nullcontext),
    )
    try:
        wrong = difference(step(model, shared=True, recompute=True), kept)
    except (RuntimeError, TypeError):
        return
    assert wrong > 1e-2


def test_layers_keep_their_inputs_alone() -> None:
    """Tensors that autograd holds between forward and backward, in floats."""

    def held(recompute: bool) -> int:
        model = model_of("llama", num_hidden_layers=6)
        seen: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            seen[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            LogProbModel(model, shared=True, recompute=recompute)(pack_shared(EXAMPLES))
        weights = {p.data_ptr() for p in model.parameters()}
        return sum(n for at, n in seen.items() if at not in weights)

    assert held(recompute=True) < held(recompute=False) / 3


def test_the_model_is_left_as_it_was() -> None:
    model = model_of("llama")
    before = {name: vars(module).copy() for name, module in model.named_modules()}
    step(model, shared=True, recompute=True)
    assert all(vars(m).keys() == before[name].keys() for name, m in model.named_modules())
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_model_without_layers_that_can_is_refused() -> None:
    with (
        pytest.raises(BadModel, match="leave out activation_checkpointing"),
        recomputed_layers(torch.nn.Linear(1, 1), nullcontext),
    ):
        pass


@pytest.mark.parametrize("named", [{}, {"lora_rank": 2}], ids=str)
def test_a_run_with_it_is_the_run_without(named: dict[str, Any], tmp_path: Path) -> None:
    plain = train(tmp_path / "a", **named)
    saving = train(tmp_path / "b", activation_checkpointing=True, **named)
    assert metrics_of(plain) == metrics_of(saving)


def test_what_dropout_dropped_is_dropped_again(tmp_path: Path) -> None:
    def lines(name: str, **named: Any) -> list[dict[str, Any]]:
        return metrics_of(train(tmp_path / name, model=policy("gpt2"), **named))

    plain = lines("a", dropout=True)
    assert plain != lines("b", dropout=False)
    assert plain == lines("c", dropout=True, activation_checkpointing=True)


def test_transformers_own_checkpointing_is_replaced(tmp_path: Path) -> None:
    """Its second computation would not know that prompts are shared."""
    plain = train(tmp_path / "a", dropout=True)
    model = policy()
    model.activation_checkpointing_enable()
    found = metrics_of(train(tmp_path / "b", model=model, dropout=True))
    # transformers hooks the embedding, whose gradient is then summed in another order.
    for line, expected in zip(found, metrics_of(plain), strict=True):
        assert line == pytest.approx(expected, rel=1e-5, abs=1e-6)
