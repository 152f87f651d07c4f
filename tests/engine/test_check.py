"""The start-up check itself: what it measures, on what, and what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from collimate._checks import BadModel
from collimate._types import Answer, Example
from collimate.engine import attention, check
from collimate.engine.check import LayoutCheck, Probed, check_layout
from collimate.engine.load import add_lora
from collimate.engine.model import context_of
from collimate.engine.packing import Packed, pack_shared
from collimate.engine.readable import require_readable
from tests.engine.tiny import ARCHITECTURES, WINDOW, model_of, pairs


def seen_probe(model: nn.Module, longest: int, monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    seen: list[Example] = []

    def spy(examples: Sequence[Example]) -> Packed:
        seen[:] = examples
        return pack_shared(examples)

    with monkeypatch.context() as patch:
        patch.setattr(check, "pack_shared", spy)
        check_layout(model, longest=longest)
    return seen


def plant(monkeypatch: pytest.MonkeyPatch, fault: Callable[..., tuple[Any, ...]]) -> None:
    """Change what the shared attention is given."""

    def faulty(*given: Any, **named: Any) -> Any:
        return attention.shared_attention(*fault(*given), **named)

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, attention.SHARED, faulty)


@pytest.mark.parametrize("name", ["mistral_window", "gemma3", "gemma2"])
def test_the_probe_is_longer_than_the_window_with_answers_on_both_sides(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = seen_probe(model_of(name), 100, monkeypatch)
    assert max(len(example.prompt) for example in probe) > WINDOW
    assert {len(example.answers) for example in probe} >= {2, 3}


@pytest.mark.parametrize("longest", [2, 20, 40, 300])
def test_the_probe_is_no_longer_than_the_data(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window of 4096 needs no probe of 4096 tokens where the data has 40."""
    probe = seen_probe(model_of("mistral_window", sliding_window=4096), longest, monkeypatch)
    sequences = [len(e.prompt) + len(a.ids) for e in probe for a in e.answers]
    assert max(sequences) <= max(longest, 15)


@pytest.mark.parametrize("longest", [2, 20, 32, 40, 50, 60, 64, 65, 90, 1000])
@pytest.mark.parametrize("window", [4, 40, 4096])
def test_both_ways_of_attending_are_probed_whatever_the_data(
    window: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where every example is short, a row's last may be attended on its own."""
    model = model_of("mistral_window", sliding_window=window)
    probe = seen_probe(model, longest, monkeypatch)
    groups = attention.attended_together(pack_shared(probe).spans or (), check._TOGETHER)
    assert any(len(group) > 1 for group in groups)
    assert any(len(group) == 1 for group in groups)


def test_a_context_no_longer_than_the_data_is_enough() -> None:
    """Learned positions end at the context; the probe must not step over it."""
    model = model_of("gpt2")
    short = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**{**model.config.to_dict(), "n_positions": 32})
    )
    assert check_layout(short, longest=32).shared


@pytest.mark.parametrize("longest", [300, 1000])
def test_a_context_shorter_than_a_long_row(longest: int) -> None:
    """`longest` counts prompt and both answers, the context prompt and one answer."""
    config = {**model_of("gpt2").config.to_dict(), "n_positions": attention.TOGETHER + 4}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config))
    assert check_layout(model, longest=longest).shared


def test_it_measures_the_same_every_time() -> None:
    model = model_of("gemma2", factor=4.0)
    state = torch.get_rng_state()
    first = check_layout(model, longest=60)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert check_layout(model, longest=60) == first
    torch.set_rng_state(state)


def test_dropout_does_not_disturb_it() -> None:
    assert check_layout(model_of("gpt2", factor=4.0).train(), longest=60).shared


@pytest.mark.parametrize("frozen", ["all", "body", "head"])
def test_frozen_weights_are_checked_as_they_are(frozen: str) -> None:
    model = model_of("llama", factor=4.0)
    part = {"all": model, "body": model.model, "head": model.lm_head}[frozen]
    part.requires_grad_(False)
    found = check_layout(model, longest=60)
    assert found.shared
    assert (found.gradient is None) == (frozen == "all")


def test_adapters_are_checked_with_the_base() -> None:
    model = add_lora(model_of("llama", factor=4.0), rank=2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    found = check_layout(model, longest=60)
    assert found.shared
    assert found.gradient is not None
    assert found.gradient > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_tolerance_is_that_of_the_dtype(dtype: torch.dtype) -> None:
    found = check_layout(model_of("llama", factor=2.0, dtype=dtype), longest=60)
    assert found.shared
    assert found.tolerance == (1e-4 if dtype == torch.float64 else 0.1)


@pytest.mark.parametrize("gradients", ["all", "vectors"])
def test_a_wrong_gradient_alone_is_enough(
    gradients: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that agree and a backward pass that does not: the plain layout, and said so."""
    plant(
        monkeypatch,
        lambda module, query, key, value, mask: (module, query, key, value.detach(), mask),
    )
    found = check_layout(model_of("llama", factor=4.0), longest=60, gradients=gradients)
    assert not found.shared
    assert found.log_prob <= found.tolerance
    assert found.gradient is not None
    assert found.gradient > 10 * found.gradient_tolerance
    assert "gradient" in found.reason


def test_a_nan_is_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    plant(
        monkeypatch, lambda module, query, key, value, mask: (module, query, key, value * nan, mask)
    )
    assert not check_layout(model_of("llama"), longest=60).shared
    broken = model_of("llama")
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BadModel):
        check_layout(broken, longest=60)


@pytest.mark.parametrize("name", ["llama", "bloom", "falcon"])
def test_the_record_is_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        ARCHITECTURES,
        "falcon",  # its attention refuses arguments it does not know
        lambda: transformers.FalconConfig(
            vocab_size=97, hidden_size=32, num_hidden_layers=1, num_attention_heads=4
        ),
    )
    found = check_layout(model_of(name), longest=60)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["shared"] == (name == "llama")
    if name == "falcon":
        assert record["log_prob"] is None
        assert "does not take rows with shared prompts" in record["reason"]
    else:
        assert record["log_prob"] == found.log_prob


def test_what_is_not_finite_becomes_null() -> None:
    found = LayoutCheck(
        shared=False, reason="x", log_prob=float("inf"), gradient=float("nan"), tolerance=0.1
    )
    assert dict(found.to_json()) == {
        "shared": False,
        "reason": "x",
        "log_prob": None,
        "gradient": None,
        "tolerance": 0.1,
        "gradient_tolerance": 1.0,
    }


def test_ids_beyond_the_vocabulary_are_refused() -> None:
    model = model_of("llama")

    def of(prompt: int, answer: int) -> list[Example]:
        answers = (Answer(ids=np.array([1])), Answer(ids=np.array([answer])))
        return [Example(prompt=np.array([prompt]), answers=answers, row=0)]

    require_readable(model, of(96, 96), {})
    for bad in (of(97, 1), of(1, 97)):
        with pytest.raises(BadModel, match="vocabulary of 97, and row 0 holds token id 97"):
            require_readable(model, bad, {})


def test_rows_beyond_the_context_are_refused() -> None:
    """A row is its prompt and one answer, not all of them."""
    model = model_of("gpt2")
    one = Answer(ids=np.ones(12, dtype=np.int64))
    for prompt, fits in ((500, True), (501, False)):
        row = Example(prompt=np.ones(prompt, dtype=np.int64), answers=(one, one, one), row=4)
        if fits:
            require_readable(model, [row], {})
        else:
            with pytest.raises(BadModel, match="reads 512 tokens, and row 4 has 513"):
                require_readable(model, [row], {})


def test_without_gradients_it_compares_log_probs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama", factor=4.0)
    found = check_layout(model, longest=60, gradients="none")
    assert found.shared
    assert found.gradient is None
    assert all(parameter.grad is None for parameter in model.parameters())
    plant(
        monkeypatch,
        lambda module, query, key, value, mask: (module, query, key, value * 1.1, mask),
    )
    assert not check_layout(model, longest=60, gradients="none").shared


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft's own
@pytest.mark.parametrize("how", ["lora", "copy"])
def test_an_adapter_on_the_head_is_refused_or_right(how: str) -> None:
    """The head is read outside its module's forward, where an adapter on it could be forgotten."""
    named: dict[str, Any] = {"target_modules": ["lm_head"]}
    if how == "copy":
        named = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    model = get_peft_model(model_of("llama"), LoraConfig(r=2, task_type="CAUSAL_LM", **named))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or "modules_to_save" in name):
                parameter.add_(0.3 * torch.randn_like(parameter))
    if how == "lora":
        with pytest.raises(BadModel):
            check_layout(model, longest=60)
    else:
        found = check_layout(model, longest=60)
        assert found.shared
        assert found.gradient is not None
        assert found.gradient < 1e-4


def test_too_little_memory_is_no_reason_for_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(check, "pack_shared", full)
    monkeypatch.setattr(check, "probe_examples", lambda *_: tuple(pairs(2)))
    with pytest.raises(torch.OutOfMemoryError):
        check_layout(model_of("llama"), longest=40)


def test_angles_that_change_with_the_longest_neighbour_bound_the_context() -> None:
    """longrope takes its angles by the longest row of a forward pass, which packing would choose."""
    factors = [1.0] * 4
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": factors,
        "long_factor": [4.0 * f for f in factors],
        "original_max_position_embeddings": 64,
    }
    named = {"rope_parameters": rope, "original_max_position_embeddings": 64}
    assert context_of(model_of("phi3", **named)) == 64
    assert context_of(model_of("phi3")) == 512
