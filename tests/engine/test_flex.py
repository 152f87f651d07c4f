"""FlexAttention over a row, computed by torch without a kernel, against the pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as flex_module

from collimate._types import Example
from collimate.engine import flex
from collimate.engine.attention import SharedRow
from collimate.engine.flex import FlexRow
from collimate.engine.model import Kernels, LogProbModel
from collimate.engine.packing import pack_shared
from tests.engine.test_architectures import FACTOR, SHARED
from tests.engine.tiny import WINDOW, difference, example, gradients, model_of


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, and backward too: torch refuses a CPU that, though it has the code."""
    monkeypatch.setattr(flex_module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(flex_module, "_validate_device", lambda *_: None)


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    """Longer than a window and than a block of 128, two to four answers, one token and many."""
    generator = np.random.default_rng(1)
    return [
        example(generator, 3 * WINDOW, 5, 14, 3),
        example(generator, 3, 4, 1, 6, 12),
        example(generator, 85, 4, 17),
        example(generator, 2, 1, 2),
    ]


def computed(name: str, rows: list[Example], kernels: Kernels) -> tuple[Tensor, dict[str, Tensor]]:
    model = model_of(name, factor=FACTOR)
    (values,) = LogProbModel(model, shared=True, kernels=kernels)(pack_shared(rows))
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    return values.detach(), gradients(model)


@pytest.mark.parametrize("name", SHARED)
def test_log_probs_and_gradients_equal_the_pieces(name: str, rows: list[Example]) -> None:
    expected, slopes = computed(name, rows, Kernels())
    got, found = computed(name, rows, Kernels(attention=True))
    assert expected.std() > 0.4, "log-probs must be far from uniform for this to test anything"
    assert (got - expected).abs().max() <= 1e-5
    assert difference(found, slopes) <= 1e-5


@pytest.mark.parametrize("softcap", [None, 2.0], ids=["no cap", "cap"])
@pytest.mark.parametrize("window", [None, 1, WINDOW])
def test_outputs_and_gradients_of_one_layer_equal_the_pieces(
    window: int | None, softcap: float | None, rows: list[Example]
) -> None:
    packed = pack_shared(rows)
    assert packed.spans is not None
    width = packed.ids.shape[1]
    drawn = [torch.randn(1, heads, width, 8) for heads in (4, 2, 2)]

    def by(row: FlexRow | SharedRow) -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in drawn]
        output = row.attend(*leaves, scaling=0.5, dropout=0.0, window=window, softcap=softcap)
        (output * torch.linspace(-1, 1, width)[:, None]).sum().backward()
        return [output.detach(), *(x.grad for x in leaves if x.grad is not None)]

    expected = by(SharedRow(packed.spans, packed.ids.device, 0))
    got = by(FlexRow(packed.spans, packed.positions[0]))
    assert len(expected) == 4
    for found, true in zip(got, expected, strict=True):
        assert (found - true).abs().max() <= 1e-5 * max(1.0, true.abs().max().item())


@pytest.mark.parametrize("window", [None, 3])
def test_a_token_sees_its_prompt_and_its_own_answer_so_far(window: int | None) -> None:
    """Pair by pair, from the definition."""
    packed = pack_shared([example(np.random.default_rng(0), 4, 2, 3), *tiny_rows()])
    assert packed.spans is not None
    owner, branch = [], []
    for i, span in enumerate(packed.spans):
        for answer, (_, size) in enumerate((span.prompt, *span.answers)):
            owner += [i] * size
            branch += [answer] * size
    places = torch.arange(len(owner))
    visible = FlexRow(packed.spans, packed.positions[0]).visible(window)
    seen = visible(places, places, places[:, None], places[None, :])
    at = packed.positions[0].tolist()
    for i in range(len(owner)):
        for j in range(len(owner)):
            allowed = owner[i] == owner[j] and branch[j] in (0, branch[i]) and j <= i
            if window is not None:
                allowed = allowed and at[i] - at[j] < window
            assert seen[i, j].item() == allowed, (i, j)


def tiny_rows() -> list[Example]:
    generator = np.random.default_rng(2)
    return [example(generator, 1, 1), example(generator, 2, 1, 4, 1)]


def test_blocks_that_nobody_sees_are_skipped() -> None:
    """Two examples of 256 tokens: six of the sixteen blocks."""
    generator = np.random.default_rng(0)
    packed = pack_shared([example(generator, 100, 156), example(generator, 200, 56)])
    assert packed.spans is not None
    mask = FlexRow(packed.spans, packed.positions[0]).mask(None)
    assert mask.to_dense().sum() == 6


def test_one_mask_serves_all_layers_of_a_window(
    rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    attend, blocks = flex._calls("cpu")
    monkeypatch.setattr(
        flex, "_calls", lambda _: (attend, lambda *a, **n: (made.append(1), blocks(*a, **n))[1])
    )
    with torch.no_grad():
        LogProbModel(model_of("gemma2"), shared=True, kernels=Kernels(attention=True))(
            pack_shared(rows)
        )
    assert len(made) == 2  # a sliding layer and a full one


def test_dropout_is_left_to_the_pieces(rows: list[Example]) -> None:
    model = model_of("llama", attention_dropout=0.5).train()
    with torch.no_grad():
        LogProbModel(model, shared=True, kernels=Kernels(attention=True))(pack_shared(rows))
    packed = pack_shared(rows)
    assert packed.spans is not None
    some = torch.zeros(1, 1, packed.ids.shape[1], 8)
    with pytest.raises(AssertionError, match="no dropout"):
        FlexRow(packed.spans, packed.positions[0]).attend(
            some, some, some, scaling=None, dropout=0.5, window=None, softcap=None
        )


def test_layers_computed_again_attend_alike(rows: list[Example]) -> None:
    model = model_of("llama", factor=FACTOR)
    found = []
    for recompute in (False, True):
        engine = LogProbModel(
            model, shared=True, recompute=recompute, kernels=Kernels(attention=True)
        )
        (values,) = engine(pack_shared(rows))
        values.sum().backward()
        found.append(gradients(model))
    assert difference(found[1], found[0]) == 0
