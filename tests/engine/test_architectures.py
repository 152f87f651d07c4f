"""The engine against a plain transformers forward, on every family of models that it names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from collimate._checks import BadModel
from collimate._types import Example
from collimate.engine import attention
from collimate.engine.check import check_layout
from collimate.engine.model import LogProbModel
from collimate.engine.packing import pack_plain, pack_shared
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
WINDOWED = ("mistral_window", "gemma2", "gemma3", "starcoder2", "cohere2")
FACTOR = 4.0
LONGEST = 330


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    """Rows longer than the window, two to four answers; one is beyond `attention.TOGETHER`."""
    generator = np.random.default_rng(1)
    return [
        example(generator, 45, 5, 14, 3),
        example(generator, 3, 4, 1, 6, 12),
        example(generator, attention.TOGETHER + 20, 4, 17, 8),
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
    check = check_layout(model, longest=LONGEST)
    assert check.shared, check
    log_prob, gradient, plain = compared(model, rows, shared=True)
    assert plain.std() > 0.25, "log-probs must be far from uniform for this to test anything"
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
    model = model_of(name, factor=FACTOR)
    check = check_layout(model, longest=LONGEST)
    assert not check.shared
    assert "shared prompts" in check.reason
    assert check.log_prob > 100 * check.tolerance
    short = [row for row in rows if row.tokens <= attention.TOGETHER]  # recurrences are slow here
    log_prob, gradient, plain = compared(model, short, shared=False)
    assert plain.std() > 0.25
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
    with pytest.raises(BadModel, match="LlamaForCausalLM.* from its own logits"):
        check_layout(model, longest=LONGEST)


def test_a_model_without_a_separate_head_is_refused() -> None:
    model = model_of("llama")
    with pytest.raises(BadModel, match="LlamaModel has no separate backbone and output head"):
        LogProbModel(model.model, shared=True)
    with pytest.raises(BadModel, match="got Linear"):
        LogProbModel(torch.nn.Linear(2, 2), shared=True)


class TestPlantedFaults:
    """The start-up check must see them on the model as it is, far above its tolerance."""

    @pytest.fixture(params=["llama", "mistral_window", "gemma2", "gemma3", "gpt2"])
    def name(self, request: pytest.FixtureRequest) -> Iterator[str]:
        return request.param

    @staticmethod
    def require_caught(name: str, factor: float = FACTOR) -> None:
        check = check_layout(model_of(name, factor=factor), longest=LONGEST)
        assert not check.shared
        assert check.log_prob > 100 * check.tolerance
        assert "nats" in check.reason

    def test_an_answer_sees_its_sibling(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        sound = attention.SharedRow._together

        def leaky(self: attention.SharedRow, group: list, window: int | None) -> Tensor:
            visible = sound(self, group, window)
            start = group[0].prompt[0]
            for span in group:
                for (first, length), (at, size) in zip(
                    span.answers, span.answers[1:], strict=False
                ):
                    visible[at - start :, first - start :][:size, :length] = True
            return visible

        monkeypatch.setattr(attention.SharedRow, "_together", leaky)
        self.require_caught(name)

    def test_an_answer_sees_its_sibling_in_a_long_row(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(attention, "TOGETHER", 0)
        sound = attention.SharedRow._cut

        def leaky(self: attention.SharedRow, group: list, window: int | None) -> Iterator:
            first, *others = sound(self, group, window)
            yield first
            (span,) = group
            (at, _), (start, _) = span.answers[0], span.prompt
            for block in others:  # its prompt ends one token too late, in the first answer
                yield attention.Block(
                    queries=block.queries,
                    keys=(slice(start + 1, at + 1), block.keys[1]),
                    visible=block.visible,
                )

        monkeypatch.setattr(attention.SharedRow, "_cut", leaky)
        self.require_caught(name)

    def test_positions_do_not_restart(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from collimate.engine import check

        def running(rows: list[Example]) -> object:
            from dataclasses import replace

            packed = pack_shared(rows)
            return replace(packed, positions=torch.arange(packed.ids.shape[1])[None])

        monkeypatch.setattr(check, "pack_shared", running)
        self.require_caught(name)

    @pytest.mark.parametrize("windowed", WINDOWED)
    def test_the_window_is_ignored(self, windowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        sound = attention.SharedRow.blocks
        monkeypatch.setattr(attention.SharedRow, "blocks", lambda self, window: sound(self, None))
        self.require_caught(windowed)

    @pytest.mark.parametrize("windowed", WINDOWED)
    def test_the_window_is_one_too_wide(
        self, windowed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sound = attention.SharedRow.blocks
        monkeypatch.setattr(
            attention.SharedRow,
            "blocks",
            lambda self, window: sound(self, window and window + 1),
        )
        self.require_caught(windowed)

    def test_the_soft_cap_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sound = attention._attend
        monkeypatch.setattr(
            attention, "_attend", lambda *args, **named: sound(*args, **{**named, "softcap": None})
        )
        self.require_caught("gemma2", factor=12.0)  # scores that the cap bends

    def test_a_window_longer_than_the_data_needs_no_longer_probe(self) -> None:
        model = model_of("mistral_window", factor=FACTOR, sliding_window=100_000)
        assert check_layout(model, longest=24).shared


def test_windows_are_really_shorter_than_the_rows(rows: list[Example]) -> None:
    assert all(getattr(ARCHITECTURES[name](), "sliding_window") == WINDOW for name in WINDOWED)  # noqa: B009
    assert max(len(row.prompt) for row in rows) > 10 * WINDOW
