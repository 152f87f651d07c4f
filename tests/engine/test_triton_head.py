"""The Triton kernels of the head, under Triton's interpreter where there is no GPU, against the
chunked path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from collimate.engine import head
from collimate.engine.head import Readout, head_signals
from collimate.signals import entropy, log_prob
from tests.engine.test_head import SHAPES

triton_head = pytest.importorskip(
    "collimate.engine.triton_head", reason="triton is for Linux", exc_type=ImportError
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = 2**-6  # bfloat16 has 2^-9 of rounding, 2^-8 under the interpreter, which cuts; then sums


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of three rows, and blocks of sixteen logits: several of each, the last ones ragged."""
    for module in (head, triton_head):
        monkeypatch.setattr(module, "chunk_rows", lambda vocabulary: 3)
    monkeypatch.setattr(triton_head, "BLOCK", 16)


def parts(
    rows: int = 7,
    vocabulary: int = 37,
    *,
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
    factor: float = 1.0,
) -> dict[str, Tensor | None]:
    drawn = torch.randn(rows, 5) * factor, torch.randn(vocabulary, 5), torch.randn(vocabulary)
    hidden, weight, shift = (x.to(DEVICE, dtype) for x in drawn)
    return {
        "hidden": hidden,
        "target": torch.randint(vocabulary, (rows,), device=DEVICE),
        "weight": weight,
        "bias": shift if bias else None,
    }


def computed(
    by: Any, given: dict[str, Tensor | None], *, frozen: str = "", **shape: Any
) -> dict[str, Tensor]:
    """Log-probs and the gradients of a mixture of them, by name; `frozen` parts get none."""
    hidden, target, weight, shift = (given[name] for name in ("hidden", "target", "weight", "bias"))
    assert hidden is not None
    assert target is not None
    assert weight is not None
    leaf = hidden.clone().requires_grad_(frozen != "body")
    table = nn.Parameter(weight.clone(), requires_grad=frozen != "head")
    row = None if shift is None else nn.Parameter(shift.clone(), requires_grad=frozen != "head")
    (values,) = by(leaf, target, Readout(table, row, **shape), (log_prob,))
    (values * torch.linspace(-1, 1, len(values), device=DEVICE)).sum().backward()
    named = {"hidden": leaf.grad, "weight": table.grad, "bias": None if row is None else row.grad}
    return {"values": values.detach()} | {n: x for n, x in named.items() if x is not None}


def assert_equal(
    got: dict[str, Tensor], expected: dict[str, Tensor], *, values: float, gradients: float
) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype
        largest = tensor.abs().max().clamp(min=1.0 if name == "values" else 1e-30)
        gap = ((got[name] - tensor).abs().max() / largest).item()
        assert gap <= (values if name == "values" else gradients), name


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_equals_the_chunked_path(shape: str, bias: bool) -> None:
    given = parts(bias=bias)
    expected = computed(head_signals, given, **SHAPES[shape])
    got = computed(triton_head.fused_signals, given, **SHAPES[shape])
    assert_equal(got, expected, values=1e-6, gradients=1e-6)


@pytest.mark.parametrize("shape", ["plain", "both"])
def test_bf16_equals_the_chunked_path_to_its_digits(shape: str) -> None:
    """The product is the same numbers, so log-probs agree in float32; slopes are rounded to bf16."""
    given = parts(dtype=torch.bfloat16)
    expected = computed(head_signals, given, **SHAPES[shape])
    got = computed(triton_head.fused_signals, given, **SHAPES[shape])
    assert_equal(got, expected, values=1e-6, gradients=HALF)


@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 1), (2, 16), (3, 17), (4, 15), (5, 2)])
def test_any_number_of_rows_and_words(rows: int, vocabulary: int) -> None:
    given = parts(rows, vocabulary)
    expected = computed(head_signals, given)
    assert_equal(computed(triton_head.fused_signals, given), expected, values=1e-6, gradients=1e-6)


@pytest.mark.parametrize("frozen", ["head", "body"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    given = parts()
    expected = computed(head_signals, given, frozen=frozen)
    assert ("weight" in expected) == (frozen == "body")
    got = computed(triton_head.fused_signals, given, frozen=frozen)
    assert_equal(got, expected, values=1e-6, gradients=1e-6)


@pytest.mark.parametrize(("shape", "gradients"), [("plain", 1e-5), ("scaled", 1e-4)])
def test_log_probs_down_to_a_thousand_nats(shape: str, gradients: float) -> None:
    """The chunked path rounds a scaled chunk's log-normaliser to 6e-5 where logits are a thousand."""
    given = parts(factor=300.0 / SHAPES[shape].get("scale", 1.0))
    expected = computed(head_signals, given, **SHAPES[shape])
    assert expected["values"].min() < -1000
    got = computed(triton_head.fused_signals, given, **SHAPES[shape])
    assert_equal(got, expected, values=1e-6, gradients=gradients)


def test_ratios_of_a_thousand_nats_either_way_are_exact() -> None:
    """Two models' log-probs of the same token, 1000 nats apart, against float64."""
    weight = torch.zeros(20, 1, device=DEVICE)
    weight[3] = 1.0
    target = torch.tensor([3, 5], device=DEVICE)
    for logit, exact in (
        (1000.0, [0.0, -1000.0]),
        (-1000.0, [-1000.0 - 2.944438979, -2.944438979]),
    ):
        hidden = torch.full((2, 1), logit, device=DEVICE)
        (values,) = triton_head.fused_signals(hidden, target, Readout(weight), (log_prob,))
        assert (values.cpu() - torch.tensor(exact)).abs().max() <= 6.2e-5  # the last digit of 1000


def test_a_block_that_the_bias_rules_out_counts_for_nothing() -> None:
    given = parts()
    assert given["bias"] is not None
    assert given["target"] is not None
    given["bias"][16:32] = -torch.inf  # a whole block of sixteen
    given["target"] %= 16
    expected = computed(head_signals, given)
    got = computed(triton_head.fused_signals, given)
    assert_equal(got, expected, values=1e-6, gradients=1e-6)


def test_gradients_are_added_to_those_there_and_twice_is_the_same() -> None:
    given = parts()
    once = computed(triton_head.fused_signals, given)
    weight, shift = (nn.Parameter(given[name].clone()) for name in ("weight", "bias"))  # type: ignore[union-attr]
    (values,) = triton_head.fused_signals(
        given["hidden"], given["target"], Readout(weight, shift), (log_prob,)
    )
    mixed = (values * torch.linspace(-1, 1, len(values), device=DEVICE)).sum()
    mixed.backward(retain_graph=True)
    mixed.backward()  # the kept chunk was written over: it is computed again
    for tensor, name in ((weight, "weight"), (shift, "bias")):
        assert tensor.grad is not None
        assert torch.allclose(tensor.grad, 2 * once[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["entropy too", "float64", "nothing"])
def test_what_has_no_kernel_is_the_chunked_paths(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = parts(
        dtype=torch.float64 if case == "float64" else torch.float32,
        rows=0 if case == "nothing" else 7,
    )
    signals = (log_prob, entropy) if case == "entropy too" else (log_prob,)
    readout = Readout(given["weight"], given["bias"])  # type: ignore[arg-type]
    expected = head_signals(given["hidden"], given["target"], readout, signals)  # type: ignore[arg-type]
    monkeypatch.delattr(triton_head, "log_probs")
    got = triton_head.fused_signals(given["hidden"], given["target"], readout, signals)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_a_wrong_kernel_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    given = parts()
    expected = computed(head_signals, given)
    sound = triton_head.log_probs
    monkeypatch.setattr(
        triton_head,
        "log_probs",
        lambda p, t, r: (lambda v, m, s: (v, m, s + 1e-3))(*sound(p, t, r)),
    )
    with pytest.raises(AssertionError):
        assert_equal(
            computed(triton_head.fused_signals, given), expected, values=1e-6, gradients=1e-6
        )
