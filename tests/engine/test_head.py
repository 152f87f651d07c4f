"""The one head: chunked log-probs and signals against plain autograd through all logits at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from collimate._checks import BadComposition, BadConfig
from collimate.axes import Divergence, Signal
from collimate.divergences import forward_kl, reverse_kl, total_variation
from collimate.engine import head
from collimate.engine.head import CHUNK_BYTES, OtherModel, Readout, chunk_rows, head_signals
from collimate.engine.model import LogProbModel
from collimate.engine.packing import pack_shared
from collimate.signals import (
    LogProb,
    divergence_to_reference,
    entropy,
    log_collision,
    log_prob,
    top_k_mass,
)
from tests.engine.tiny import difference, gradients, model_of, pairs, plain_log_probs

TOKENS, WIDTH, VOCABULARY = 23, 7, 19
SHAPES: dict[str, dict[str, float]] = {
    "plain": {},
    "scaled": {"scale": 0.3},
    "capped": {"softcap": 2.0},
    "both": {"scale": 1.7, "softcap": 4.0},
}


@pytest.fixture(params=[1, 4, 64], ids="chunk of {}".format)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(head, "chunk_rows", lambda vocabulary: request.param)
    return request.param


def parts(
    *, bias: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Random hidden states, targets, weight and bias; large enough that softmax is uneven."""
    hidden = torch.randn(TOKENS, WIDTH, dtype=dtype).requires_grad_()
    weight = nn.Parameter(torch.randn(VOCABULARY, WIDTH, dtype=dtype))
    shift = nn.Parameter(torch.randn(VOCABULARY, dtype=dtype)) if bias else None
    return hidden, torch.randint(VOCABULARY, (TOKENS,)), weight, shift


def by_autograd(
    hidden: Tensor,
    target: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    signals: Sequence[Signal],
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> list[Tensor]:
    logits = nn.functional.linear(hidden, weight, bias) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    known = {
        "log_prob": lambda: logits.log_softmax(-1).gather(1, target[:, None])[:, 0],
        "entropy": lambda: torch.distributions.Categorical(logits=logits).entropy(),
        "log_collision": lambda: (logits.softmax(-1) ** 2).sum(-1).log(),
        "top_3_mass": lambda: logits.softmax(-1).sort(-1, descending=True).values[:, :3].sum(-1),
    }
    return [known[signal.name]() for signal in signals]


def grads_of(*tensors: Tensor | None) -> list[Tensor | None]:
    found = [None if t is None or t.grad is None else t.grad.clone() for t in tensors]
    for tensor in tensors:
        if tensor is not None:
            tensor.grad = None
    return found


def assert_close(got: Tensor | None, expected: Tensor | None, *, to: float = 1e-12) -> None:
    assert got is not None
    assert expected is not None
    assert got.dtype == expected.dtype
    gap = (got - expected).abs().max().item()
    assert gap <= to * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "signals",
    [
        (log_prob,),
        (log_prob, entropy),
        (entropy,),
        (log_prob, top_k_mass(3)),
        (log_collision, log_prob),
    ],
    ids=["log_prob", "both", "entropy", "mass", "collision"],
)
def test_values_and_gradients_equal_plain_autograd(
    signals: tuple[Signal, ...], shape: str, bias: bool, chunk: int
) -> None:
    hidden, target, weight, shift = parts(bias=bias)
    mixtures = [torch.randn(TOKENS, dtype=torch.float64) for _ in signals]
    expected = by_autograd(hidden, target, weight, shift, signals, **SHAPES[shape])
    torch.stack([(m * e).sum() for m, e in zip(mixtures, expected, strict=True)]).sum().backward()
    wanted = grads_of(hidden, weight, shift)
    got = head_signals(hidden, target, Readout(weight, shift, **SHAPES[shape]), signals)
    for value, reference in zip(got, expected, strict=True):
        assert_close(value, reference)
    torch.stack([(m * g).sum() for m, g in zip(mixtures, got, strict=True)]).sum().backward()
    for found, reference in zip(grads_of(hidden, weight, shift), wanted, strict=True):
        if reference is not None:
            assert_close(found, reference)
    assert grads_of(shift) == [None]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "divergence", [forward_kl, reverse_kl, total_variation], ids=lambda d: d.name
)
def test_divergences_to_another_model_equal_plain_autograd(
    divergence: Divergence, shape: str, chunk: int
) -> None:
    hidden, target, weight, shift = parts(bias=True)
    other, _, other_weight, _ = parts()
    signals = (log_prob, divergence_to_reference(divergence))
    log_q = (other @ other_weight.T * 0.5).log_softmax(-1).detach()

    def log_p() -> Tensor:
        logits = nn.functional.linear(hidden, weight, shift) * SHAPES[shape].get("scale", 1.0)
        cap = SHAPES[shape].get("softcap")
        return (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(-1)

    mixture = torch.randn(TOKENS, dtype=torch.float64)
    exact = {
        "forward_kl": lambda p: (log_q.exp() * (log_q - p)).sum(-1),
        "reverse_kl": lambda p: (p.exp() * (p - log_q)).sum(-1),
        "total_variation": lambda p: (p.exp() - log_q.exp()).abs().sum(-1) / 2,
    }[divergence.name](log_p())
    (mixture * exact).sum().backward()
    wanted = grads_of(hidden, weight, shift)
    beside = OtherModel(hidden=other.detach(), readout=Readout(other_weight.detach(), scale=0.5))
    values, found = head_signals(
        hidden, target, Readout(weight, shift, **SHAPES[shape]), signals, beside
    )
    assert_close(found, exact)
    assert_close(values, log_p().gather(1, target[:, None])[:, 0])
    (mixture * found).sum().backward()
    for got, expected in zip(grads_of(hidden, weight, shift), wanted, strict=True):
        assert_close(got, expected)


def test_a_divergence_needs_the_other_model() -> None:
    hidden, target, weight, _ = parts()
    with pytest.raises(BadComposition, match="needs the reference's logits"):
        head_signals(hidden, target, Readout(weight), (divergence_to_reference(forward_kl),))


def test_a_mass_of_all_tokens_is_one() -> None:
    hidden, target, weight, _ = parts()
    for k in (VOCABULARY, 10 * VOCABULARY):
        (mass,) = head_signals(hidden, target, Readout(weight), (top_k_mass(k),))
        assert torch.allclose(mass, torch.ones_like(mass))
    for bad in (0, -1, True):
        with pytest.raises(BadConfig, match="k must be a whole number"):
            top_k_mass(bad)


@pytest.mark.parametrize("used", ["log_prob", "entropy"])
def test_a_signal_that_the_loss_does_not_read_adds_nothing(used: str, chunk: int) -> None:
    hidden, target, weight, _ = parts()
    signals = (log_prob, entropy)
    index = [s.name for s in signals].index(used)
    by_autograd(hidden, target, weight, None, signals)[index].square().sum().backward()
    wanted = grads_of(hidden, weight)
    head_signals(hidden, target, Readout(weight), signals)[index].square().sum().backward()
    for found, reference in zip(grads_of(hidden, weight), wanted, strict=True):
        assert_close(found, reference)


def test_log_probs_keep_their_hand_written_gradient_beside_an_unused_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logging an entropy must not make the backward pass hold autograd's copies of the logits."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the gradient by autograd was taken for plain log-probs")

    monkeypatch.setattr(head, "_gradient_by_autograd", refuse)
    hidden, target, weight, _ = parts()
    values, _ = head_signals(hidden, target, Readout(weight), (log_prob, entropy))
    values.sum().backward()
    assert hidden.grad is not None


def test_two_log_prob_signals_read_the_same_normaliser(chunk: int) -> None:
    hidden, target, weight, _ = parts()
    expected = by_autograd(hidden, target, weight, None, (log_prob,))[0]
    (3 * expected).sum().backward()
    wanted = grads_of(hidden, weight)
    first, second = head_signals(hidden, target, Readout(weight), (log_prob, LogProb(name="again")))
    assert_close(second, expected)
    (first + 2 * second).sum().backward()
    for found, reference in zip(grads_of(hidden, weight), wanted, strict=True):
        assert_close(found, reference)


def test_gradients_are_added_to_those_there(chunk: int) -> None:
    hidden, target, weight, shift = parts(bias=True)
    by_autograd(hidden, target, weight, shift, (log_prob,))[0].sum().backward()
    once = grads_of(hidden, weight, shift)
    for _ in range(2):
        head_signals(hidden, target, Readout(weight, shift), (log_prob,))[0].sum().backward()
    for found, reference in zip(grads_of(hidden, weight, shift), once, strict=True):
        assert reference is not None
        assert_close(found, 2 * reference)


def test_a_frozen_head_gets_no_gradient(chunk: int) -> None:
    hidden, target, weight, shift = parts(bias=True)
    assert shift is not None
    weight.requires_grad_(False)
    shift.requires_grad_(False)
    by_autograd(hidden, target, weight, shift, (log_prob,))[0].sum().backward()
    wanted = grads_of(hidden)
    head_signals(hidden, target, Readout(weight, shift), (log_prob,))[0].sum().backward()
    assert weight.grad is None
    assert shift.grad is None
    assert_close(grads_of(hidden)[0], wanted[0])


def test_a_frozen_body_leaves_the_head_its_gradient(chunk: int) -> None:
    hidden, target, weight, _ = parts()
    hidden = hidden.detach()
    by_autograd(hidden, target, weight, None, (log_prob,))[0].sum().backward()
    wanted = grads_of(weight)
    head_signals(hidden, target, Readout(weight), (log_prob,))[0].sum().backward()
    assert_close(grads_of(weight)[0], wanted[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_gradcheck_on_hidden_states(shape: str, chunk: int) -> None:
    _, target, weight, shift = parts(bias=True)
    assert shift is not None
    readout = Readout(weight.detach(), shift.detach(), **SHAPES[shape])
    hidden = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda h: head_signals(h, target[:5], readout, (log_prob, entropy)), (hidden,)
    )


@pytest.mark.parametrize("trainable", ["float32", "bfloat16"])
def test_bf16_hidden_states_give_float32_log_probs(trainable: str, chunk: int) -> None:
    """Under autocast: float32 master weights that get float32 gradients, bf16 products."""
    hidden, target, weight, _ = parts(dtype=torch.float32)
    weight = nn.Parameter(weight.detach().to(getattr(torch, trainable)))
    low = hidden.detach().bfloat16().requires_grad_()
    (values,) = head_signals(low, target, Readout(weight), (log_prob,))
    assert values.dtype == torch.float32
    logits = (low.detach() @ weight.detach().bfloat16().T).float()
    expected = logits.log_softmax(-1).gather(1, target[:, None])[:, 0]
    assert_close(values.detach(), expected, to=1e-6)
    values.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == weight.dtype
    assert low.grad is not None
    assert low.grad.dtype == torch.bfloat16
    by_autograd(hidden, target, weight.detach().float(), None, (log_prob,))[0].sum().backward()
    (reference,) = grads_of(hidden)
    assert reference is not None
    assert (low.grad.float() - reference).abs().max() < 0.05 * reference.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_token_at_all_gives_empty_signals(dtype: torch.dtype) -> None:
    _, target, weight, _ = parts(dtype=dtype)
    hidden = torch.empty(0, WIDTH, dtype=dtype, requires_grad=True)
    values = head_signals(hidden, target[:0], Readout(weight), (log_prob, entropy))
    assert [tuple(value.shape) for value in values] == [(0,), (0,)]
    floor = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(value.dtype == floor for value in values)
    torch.cat(values).sum().backward()
    assert hidden.grad is not None


def test_large_logits_stay_finite(chunk: int) -> None:
    hidden, target, weight, _ = parts(dtype=torch.float32)
    large = (hidden.detach() * 1e4).requires_grad_()
    (values,) = head_signals(large, target, Readout(weight), (log_prob,))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert (values <= 0).all()
    assert torch.isfinite(torch.cat([large.grad.flatten(), weight.grad.flatten()])).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("trained", "rows"), [("head", 2 * TOKENS - 4), ("body", TOKENS), ("nothing", TOKENS)]
)
def test_only_a_chunk_of_logits_is_made_at_a_time(
    trained: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, and again backward but for the chunk that is kept; never again for a frozen head."""
    monkeypatch.setattr(head, "chunk_rows", lambda vocabulary: 4)
    seen: list[int] = []
    sound = Readout.raw

    def raw(self: Readout, hidden: Tensor, weight: Tensor) -> Tensor:
        seen.append(len(hidden))
        return sound(self, hidden, weight)

    monkeypatch.setattr(Readout, "raw", raw)
    hidden, target, weight, _ = parts()
    weight.requires_grad_(trained == "head")
    with torch.set_grad_enabled(trained != "nothing"):
        (values,) = head_signals(hidden, target, Readout(weight), (log_prob,))
    if trained != "nothing":
        values.sum().backward()
    assert max(seen) == 4
    assert sum(seen) == rows


def test_a_second_backward_pass_gives_the_same_gradient(chunk: int) -> None:
    """The kept chunk is written over by the first: the second computes it again."""
    hidden, target, weight, _ = parts()
    (values,) = head_signals(hidden, target, Readout(weight), (log_prob,))
    loss = values.square().sum()
    loss.backward(retain_graph=True)
    first = grads_of(hidden, weight)
    loss.backward()
    for found, reference in zip(grads_of(hidden, weight), first, strict=True):
        assert_close(found, reference)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen head", "trained head"])
def test_what_is_kept_between_the_passes_is_small(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of logits, or one row of the width per token where the head is frozen."""
    monkeypatch.setattr(head, "chunk_rows", lambda vocabulary: 4)
    hidden, target, weight, _ = parts()
    weight.requires_grad_(not frozen)
    (values,) = head_signals(hidden, target, Readout(weight), (log_prob,))
    node: Any = values.grad_fn
    kept = [x.shape for x in (node.kept, *node.saved_tensors[: node.has_slope]) if x is not None]
    assert kept == [torch.Size((TOKENS, WIDTH) if frozen else (4, VOCABULARY))]


def test_room_left_by_inference_mode_is_not_written_to() -> None:
    hidden, target, weight, _ = parts()
    with torch.inference_mode():
        head_signals(hidden, target, Readout(weight), (log_prob,))
    head_signals(hidden, target, Readout(weight), (log_prob,))[0].sum().backward()


@pytest.mark.parametrize("vocabulary", [10, 32_000, 152_000, 1_000_000])
def test_chunks_are_bounded_and_never_tiny(vocabulary: int) -> None:
    rows = chunk_rows(vocabulary)
    assert 64 <= rows <= 1024
    assert rows == 64 or 4 * rows * vocabulary <= CHUNK_BYTES


@dataclass(frozen=True)
class First:
    """A signal whose values are a view of the logits."""

    name: str = "first"
    against: Literal["none"] = "none"

    def value(self, logits: Tensor, target: Tensor, other: Tensor | None = None) -> Tensor:
        return logits[:, 0]


def test_values_that_are_views_of_the_logits_stay_what_they_were(chunk: int) -> None:
    """The room of a chunk is used again, but not while anyone may read it."""
    hidden, target, weight, _ = parts()
    head_signals(hidden, target, Readout(weight), (log_prob,))  # leaves its room to the next
    found, values = head_signals(hidden, target, Readout(weight), (First(), log_prob))
    assert_close(found, (hidden @ weight.T)[:, 0])
    (found + values).sum().backward()
    got = grads_of(hidden, weight)
    logits = hidden @ weight.T
    (logits[:, 0] + by_autograd(hidden, target, weight, None, (log_prob,))[0]).sum().backward()
    for one, reference in zip(got, grads_of(hidden, weight), strict=True):
        assert_close(one, reference)


def test_two_forward_passes_before_their_backward_passes(chunk: int) -> None:
    """Each keeps its own chunk."""
    hidden, target, weight, _ = parts()
    other = torch.randn_like(hidden).requires_grad_()
    (first,) = head_signals(hidden, target, Readout(weight), (log_prob,))
    (second,) = head_signals(other, target, Readout(weight), (log_prob,))
    (first.square().sum() + second.sum()).backward()
    got = grads_of(hidden, other, weight)
    by_autograd(hidden, target, weight, None, (log_prob,))[0].square().sum().backward()
    by_autograd(other, target, weight, None, (log_prob,))[0].sum().backward()
    for one, reference in zip(got, grads_of(hidden, other, weight), strict=True):
        assert_close(one, reference)


@dataclass(frozen=True)
class Squared:
    """A signal nobody foresaw: the square of the target's log-prob."""

    name: str = "squared"
    against: Literal["none"] = "none"

    def value(self, logits: Tensor, target: Tensor, other: Tensor | None = None) -> Tensor:
        return logits.log_softmax(-1).gather(1, target[:, None])[:, 0].square()


def test_a_signal_of_ones_own(chunk: int) -> None:
    hidden, target, weight, _ = parts()
    expected = by_autograd(hidden, target, weight, None, (log_prob,))[0]
    (expected.square() + expected).sum().backward()
    wanted = grads_of(hidden, weight)
    values, squares = head_signals(hidden, target, Readout(weight), (log_prob, Squared()))
    (values + squares).sum().backward()
    for found, reference in zip(grads_of(hidden, weight), wanted, strict=True):
        assert_close(found, reference)


@pytest.mark.parametrize("padding", [None, 0, 5])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_head_and_embedding_share_a_gradient(tied: bool, padding: int | None) -> None:
    """A tied table collects both gradients; the embedding gives its padding row none."""
    model = model_of("llama", factor=4.0, dtype=torch.float64, tie_word_embeddings=tied)
    embedding = model.get_input_embeddings()
    embedding.padding_idx = padding
    assert (model.lm_head.weight is embedding.weight) == tied
    examples = pairs(3)
    for one in examples:  # the padding id stands in prompts and answers
        one.prompt[0] = one.answers[0].ids[0] = 5
    plain_log_probs(model, examples, grad=True).square().sum().backward()
    wanted = gradients(model)
    LogProbModel(model, shared=True)(pack_shared(examples))[0].square().sum().backward()
    found = gradients(model)
    assert found.keys() == wanted.keys()
    assert difference(found, wanted) < 1e-6  # norms and rotary angles are float32 inside
    row = wanted["model.embed_tokens.weight"][5]
    assert (row == 0).all() == (padding == 5 and not tied)
