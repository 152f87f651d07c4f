"""8-bit AdamW: close to AdamW, a quarter of its state, and checkpoints that continue to the same bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import nn

from collimate._bitsandbytes import load_bitsandbytes
from collimate._checks import BadConfig, MissingExtra
from collimate.engine.checkpoint import load_checkpoint, save_checkpoint
from collimate.engine.sizes import run_sizes
from collimate.optim import adamw, adamw_8bit, require_adamw_8bit, state_bytes
from tests.engine.test_checkpoint import progress, steps
from tests.engine.tiny import model_of
from tests.equivalence.runs import tensors_of


def large() -> nn.Module:
    """Some of its parameters are large enough for 8-bit moments, some are not."""
    return model_of("llama", hidden_size=64, intermediate_size=96)


def states(optimizer: torch.optim.Optimizer) -> list[dict[str, torch.Tensor | int]]:
    """The slots of each parameter, in the order of the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [dict(optimizer.state[parameter]) for parameter in parameters]


def test_a_checkpoint_continues_to_the_same_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = large()
    optimizer = adamw_8bit(whole, learning_rate=1e-2, weight_decay=0.1)
    steps(whole, optimizer, 3)
    save_checkpoint(tmp_path, whole, optimizer, progress(3), keep=1)
    stored = states(optimizer)
    kinds = {slots["state1"].dtype for slots in stored}  # type: ignore[union-attr]
    assert kinds == {torch.uint8, torch.float32}

    again = large()
    other = adamw_8bit(again, learning_rate=1e-2, weight_decay=0.1)
    load_checkpoint(tmp_path / "step-00000003", again, other, identity="mine")
    assert len(states(other)) == len(stored)
    for before, after in zip(stored, states(other), strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            if isinstance(value, int):
                assert (type(after[name]), after[name]) == (int, value)
            else:
                assert after[name].dtype == value.dtype  # type: ignore[union-attr]
                assert torch.equal(after[name], value)  # type: ignore[arg-type]
    random = torch.get_rng_state()
    steps(whole, optimizer, 3)
    torch.set_rng_state(random)
    steps(again, other, 3)
    for name, tensor in tensors_of(whole).items():
        assert torch.equal(tensor, tensors_of(again)[name]), name


def test_its_steps_are_close_to_those_of_adamw() -> None:
    found = {}
    for make in (adamw, adamw_8bit):
        torch.manual_seed(0)
        model = large()
        before = tensors_of(model)
        steps(model, make(model, learning_rate=1e-3, weight_decay=0.1), 5)
        after = tensors_of(model)
        found[make] = torch.cat([(after[n] - before[n]).flatten() for n in before])
    gap = (found[adamw_8bit] - found[adamw]).norm() / found[adamw].norm()
    assert 0 < gap < 0.1


def test_the_state_is_as_large_as_predicted() -> None:
    model = large()
    optimizer = adamw_8bit(model, learning_rate=1e-3)
    steps(model, optimizer, 1)
    slots = [
        slot
        for state in states(optimizer)
        for name, slot in state.items()
        if isinstance(slot, torch.Tensor) and not name.startswith("qmap")
    ]
    taken = sum(slot.numel() * slot.element_size() for slot in slots)
    assert taken == sum(state_bytes(p, "adamw_8bit") for p in model.parameters())
    assert taken == run_sizes(model, tokens=8, optimizer="adamw_8bit")["optimizer"]
    wide = torch.empty(1024, 1024)
    assert state_bytes(wide, "adamw_8bit") < 0.255 * state_bytes(wide, "adamw")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match=r'pip install "collimate\[quantize\]"'):
        require_adamw_8bit("cpu")


def test_a_device_on_which_it_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    require_adamw_8bit("cpu")
    with pytest.raises(BadConfig, match=r"optimizer adamw_8bit cannot run on 'mps'.*--optimizer"):
        require_adamw_8bit("mps")

    def broken(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError

    monkeypatch.setattr(load_bitsandbytes().optim, "AdamW8bit", broken)
    with pytest.raises(BadConfig, match=r"this machine's 'cpu'.*\(NotImplementedError\)"):
        require_adamw_8bit("cpu")
