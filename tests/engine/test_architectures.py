"""The engine against a plain transformers forward, on every family of models that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from collimate._checks import BadModel
from collimate._types import Example
from collimate.engine import attention, check
from collimate.engine.check import check_layout
from collimate.engine.model import LogProbModel
from collimate.engine.packing import Packed, Span, pack_plain, pack_shared
from tests.engine.tiny import (
    ARCHITECTURES,
    WINDOW,
    difference,
    example,
    gradients,
    model_of,
    plain_log_probs,
)

PLAIN = ("bloom", "mamba", "gpt_oss", "gpt_neo")
SHARED = tuple(name for name in ARCHITECTURES if name not in PLAIN)
WINDOWED = ("mistral_window", "qwen2_window", "gemma2", "gemma3", "starcoder2", "cohere2")
FACTOR = 8.0
LONGEST = 330


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    """Rows longer than the window, two to four answers; some attended together, some alone."""
    generator = np.random.default_rng(1)
    return [
        example(generator, 45, 5, 14, 3),
        example(generator, 3, 4, 1, 6, 12),
        example(generator, 276, 4, 17, 8),
        example(generator, 20, 1, 2),
    ]


def engine_values(model: PreTrainedModel, rows: list[Example], *, shared: bool) -> Tensor:
    packed = pack_shared(rows) if shared else pack_plain(rows)
    (values,) = LogProbModel(model, shared=shared)(packed)
    return values


def mixture(values: Tensor) -> Tensor:
    return (values * torch.linspace(-1, 1, len(values), dtype=values.dtype)).sum()


def compared(
    model: PreTrainedModel, rows: list[Example], *, shared: bool
) -> tuple[float, float, Tensor]:
    """Largest difference of a log-prob, of a gradient entry (relative), and the plain log-probs."""
    expected = plain_log_probs(model, rows, grad=True)
    mixture(expected).backward()
    slopes = gradients(model)
    values = engine_values(model, rows, shared=shared)
    mixture(values).backward()
    gap = (values - expected).abs().max().item()
    return gap, difference(gradients(model), slopes), expected.detach()


@pytest.mark.parametrize("name", SHARED)
def test_shares_prompts_and_equals_a_plain_forward(name: str, rows: list[Example]) -> None:
    model = model_of(name, factor=FACTOR)
    found = check_layout(model, longest=LONGEST)
    assert found.shared, found
    log_prob, gradient, plain = compared(model, rows, shared=True)
    assert plain.std() > 0.4, "log-probs must be far from uniform for this to test anything"
    assert log_prob <= 1e-4
    assert gradient <= 1e-5


@pytest.mark.parametrize("name", SHARED)
def test_equals_a_plain_forward_to_1e_5_at_standard_initialisation(
    name: str, rows: list[Example]
) -> None:
    model = model_of(name)
    with torch.no_grad():
        values = engine_values(model, rows, shared=True)
    assert (values - plain_log_probs(model, rows)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", PLAIN)
def test_takes_the_plain_layout_with_a_reason_where_sharing_is_wrong(
    name: str, rows: list[Example]
) -> None:
    model = model_of(name, factor=4.0 if name == "mamba" else FACTOR)  # recurrences explode
    found = check_layout(model, longest=LONGEST)
    assert not found.shared
    assert "shared prompts" in found.reason
    assert found.log_prob > 100 * found.tolerance
    short = [row for row in rows if row.tokens < 100]  # recurrences are slow here
    log_prob, gradient, plain = compared(model, short, shared=False)
    assert plain.std() > 0.4
    assert log_prob <= 1e-4
    assert gradient <= 1e-5


@pytest.mark.parametrize("together", [0, 10_000])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3"])
def test_attending_one_by_one_and_together_agree(
    name: str, together: int, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "TOGETHER", together)
    log_prob, gradient, _ = compared(model_of(name, factor=FACTOR), rows, shared=True)
    assert log_prob <= 1e-4
    assert gradient <= 1e-5


def test_the_check_leaves_the_model_as_it_was() -> None:
    model = model_of("llama", factor=FACTOR).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention_before = model.config._attn_implementation
    check_layout(model, longest=LONGEST)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.config._attn_implementation == attention_before


def test_a_model_that_changes_its_logits_unknown_to_us_is_refused() -> None:
    model = model_of("llama", factor=FACTOR)
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(BadModel, match=r"LlamaForCausalLM.* from its own logits"):
        check_layout(model, longest=LONGEST)


def test_a_model_without_a_separate_head_is_refused() -> None:
    model = model_of("llama")
    with pytest.raises(BadModel, match="LlamaModel has no separate backbone and output head"):
        LogProbModel(model.model, shared=True)
    with pytest.raises(BadModel, match="got Linear"):
        LogProbModel(torch.nn.Linear(2, 2), shared=True)


def plant(
    monkeypatch: pytest.MonkeyPatch, **faults: Callable[[float | None], float | None]
) -> None:
    """Change what the shared attention is told."""

    def faulty(*given: Any, **named: Any) -> Any:
        changed = {name: fault(named.get(name)) for name, fault in faults.items()}
        return attention.shared_attention(*given, **{**named, **changed})

    monkeypatch.setitem(AttentionInterface._global_mapping, attention.SHARED, faulty)


class TestPlantedFaults:
    """The start-up check must see them on the model as it is, far above its tolerance."""

    @pytest.fixture(params=["llama", "mistral_window", "gemma2", "gemma3", "gpt2"])
    def name(self, request: pytest.FixtureRequest) -> Iterator[str]:
        return request.param

    @staticmethod
    def require_caught(name: str, factor: float = FACTOR) -> None:
        found = check_layout(model_of(name, factor=factor), longest=LONGEST)
        assert not found.shared
        assert found.log_prob > 100 * found.tolerance
        assert "nats" in found.reason

    @pytest.mark.parametrize("together", [0, 10_000])
    def test_an_answer_sees_its_sibling(
        self, together: int, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second answer goes on where the first ends, in both ways of attending."""

        def merged(span: Span) -> Span:
            (at, first), (_, second), *others = span.answers
            return Span(prompt=span.prompt, answers=((at, first + second), *others))

        def leaky(rows: list[Example]) -> Packed:
            packed = pack_shared(rows)
            return replace(packed, spans=tuple(merged(span) for span in packed.spans or ()))

        monkeypatch.setattr(check, "_TOGETHER", together)
        monkeypatch.setattr(check, "pack_shared", leaky)
        self.require_caught(name)

    def test_positions_do_not_restart(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def running(rows: list[Example]) -> Packed:
            packed = pack_shared(rows)
            return replace(packed, positions=torch.arange(packed.ids.shape[1])[None])

        monkeypatch.setattr(check, "pack_shared", running)
        self.require_caught(name)

    @pytest.mark.parametrize("windowed", WINDOWED)
    def test_the_window_is_ignored(self, windowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        plant(monkeypatch, sliding_window=lambda window: None)
        self.require_caught(windowed)

    @pytest.mark.parametrize("windowed", WINDOWED)
    @pytest.mark.parametrize("by", [-1, 1])
    def test_the_window_is_off_by_one(
        self, by: int, windowed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plant(monkeypatch, sliding_window=lambda window: window and window + by)
        self.require_caught(windowed)

    def test_the_soft_cap_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plant(monkeypatch, softcap=lambda cap: None)
        self.require_caught("gemma2", factor=12.0)  # scores that the cap bends

    def test_the_scale_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plant(monkeypatch, scaling=lambda scale: None)
        self.require_caught("granite")

    def test_a_window_longer_than_the_data_needs_no_longer_probe(self) -> None:
        model = model_of("mistral_window", factor=FACTOR, sliding_window=100_000)
        assert check_layout(model, longest=24).shared


def test_windows_are_really_shorter_than_the_rows(rows: list[Example]) -> None:
    assert all(getattr(ARCHITECTURES[name](), "sliding_window") == WINDOW for name in WINDOWED)  # noqa: B009
    assert max(len(row.prompt) for row in rows) > 10 * WINDOW
