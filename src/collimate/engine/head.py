"""The one head: hidden states of answer positions × vocabulary -> signals, in chunks.

Nothing else in the engine multiplies by the vocabulary. A chunk of logits lives at a time, forward
and backward, so that memory is linear in the chunk and not in the batch. The last chunk forward is
the first one backward and is kept in between; the others are computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate.axes import Signal
from collimate.signals import LogProb

CHUNK_BYTES = 128 * 2**20
"""Size of one chunk of float32 logits."""


def chunk_rows(vocabulary: int) -> int:
    """Rows of logits per chunk: `CHUNK_BYTES` of float32, at least 64, at most 1024.

    >>> chunk_rows(32_000)
    1024
    """
    return max(64, min(1024, CHUNK_BYTES // (4 * vocabulary)))


class Readout:
    """How hidden states become logits: W·h + b, perhaps scaled or soft-capped.

    weight [vocab, width], bias [vocab] or None; scale multiplies the logits, softcap s makes them
    s·tanh(logits / s).
    """

    def __init__(
        self,
        weight: Float[Tensor, "vocab width"],
        bias: Float[Tensor, " vocab"] | None = None,
        *,
        scale: float = 1.0,
        softcap: float | None = None,
    ) -> None:
        self.weight, self.bias, self.scale, self.softcap = weight, bias, scale, softcap

    def raw(self, hidden: Float[Tensor, "token width"], weight: Tensor) -> Tensor:
        """W·h + b, a product in the dtype of both, in float32 or better from there on."""
        product = torch.mm(hidden, weight.T, out=_taken(len(hidden), weight))
        logits = product if product.dtype == torch.float64 else product.float()
        if logits is not product:
            _give_back(product, weight)
        return logits if self.bias is None else logits.add_(self.bias.to(logits.dtype))

    def shaped(self, raw: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
        """Scaling and soft-cap; differentiable."""
        logits = raw if self.scale == 1.0 else raw * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    @property
    def is_plain(self) -> bool:
        """Whether `shaped` is the identity."""
        return self.scale == 1.0 and self.softcap is None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OtherModel:
    """What a frozen model says at the same answer tokens: hidden states, and how to read logits.

    layers: the hidden states of every layer, where a signal is read from them.
    """

    hidden: Float[Tensor, "token width"]
    readout: Readout
    layers: Float[Tensor, "layer token width"] | None = None

    def logits(self, rows: slice) -> Float[Tensor, "token vocab"]:
        """Its logits of some tokens, without gradient."""
        with torch.no_grad():
            hidden = self.hidden[rows]
            raw = self.readout.raw(hidden, self.readout.weight.to(hidden.dtype))
            return self.readout.shaped(raw)


def head_signals(
    hidden: Float[Tensor, "token width"],
    target: Int[Tensor, " token"],
    readout: Readout,
    signals: Sequence[Signal],
    other: OtherModel | None = None,
) -> tuple[Float[Tensor, " token"], ...]:
    """Each signal of each token, float32 or better, differentiable in hidden states and head.

    The gradients of weight and bias are *added in place* to `.grad` during the backward pass (use
    `.backward()`, not `torch.autograd.grad`, to get them). A frozen head costs no weight gradient;
    where plain log-probs are read from it nothing is computed again: d log p / d hidden is made on
    the way forward. other: for signals against a frozen model, whose logits are made chunk by chunk
    beside its own.
    """
    if not len(target):
        nothing = hidden.sum(-1)
        return tuple(
            nothing if nothing.dtype == torch.float64 else nothing.float() for _ in signals
        )
    trained = any(x is not None and x.requires_grad for x in (hidden, readout.weight, readout.bias))
    keep = torch.is_grad_enabled() and trained
    return _Head.apply(
        hidden, readout.weight, readout.bias, target, readout, tuple(signals), keep, other
    )


def keeps_logits(readout: Readout, signals: Sequence[Signal]) -> bool:
    """Whether logits are kept from the forward to the backward pass: log-probs alone, a trained head."""
    trained = any(x is not None and x.requires_grad for x in (readout.weight, readout.bias))
    return trained and readout.is_plain and all(isinstance(signal, LogProb) for signal in signals)


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        readout: Readout,
        signals: tuple[Signal, ...],
        keep: bool,
        other: OtherModel | None,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # a signal that the loss does not read costs nothing
        by_hand = readout.is_plain and all(isinstance(signal, LogProb) for signal in signals)
        frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        chunks = chunks_of(len(target), chunk_rows(weight.shape[0]))
        cast = weight.to(hidden.dtype)
        parts: list[list[Tensor]] = [[] for _ in signals]
        slopes: list[Tensor] = []
        ctx.kept = None
        for rows in chunks:
            logits = readout.raw(hidden[rows], cast)
            if by_hand:
                torch.log_softmax(logits, dim=-1, out=logits)
                values = [_chosen(logits, target[rows])] * len(signals)
                if keep and frozen:
                    slope = _log_prob_slope(logits.exp_(), target[rows])
                    slopes.append(slope.to(hidden.dtype) @ cast)
                if keep and not frozen and rows is chunks[-1]:
                    ctx.kept = logits
                else:
                    _give_back(logits, cast)
            else:
                logits = readout.shaped(logits)
                beside = None if other is None else other.logits(rows)
                values = [signal.value(logits, target[rows], beside) for signal in signals]
                del beside
            for part, value in zip(parts, values, strict=True):
                part.append(value)
            del logits  # before the next chunk is made
        ctx.has_slope = bool(slopes)
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        else:
            ctx.save_for_backward(hidden, weight, bias, target)
        ctx.readout, ctx.signals, ctx.chunks, ctx.other = readout, signals, chunks, other
        return tuple(torch.cat(part) for part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(gradient is None for gradient in gradients):
            return (None,) * 8
        if ctx.has_slope:
            (slope,) = ctx.saved_tensors
            hidden_gradient = (slope * -_sum(gradients)[:, None]).to(slope.dtype)
            return hidden_gradient, *(None,) * 7
        hidden, weight, bias, target = ctx.saved_tensors
        cast = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        by_hand = ctx.readout.is_plain and all(
            g is None or isinstance(s, LogProb) for g, s in zip(gradients, ctx.signals, strict=True)
        )
        scale = _sum(gradients)
        scale = (-scale if by_hand else torch.ones_like(scale))[:, None]
        # Written over here; another backward pass through the same graph computes it again.
        kept, ctx.kept = ctx.kept, None
        for rows in reversed(ctx.chunks):
            if kept is not None:
                logits, kept = kept.exp_(), None
            else:
                logits = ctx.readout.raw(hidden[rows], cast)
                if by_hand:
                    torch.softmax(logits, dim=-1, out=logits)
            if by_hand:
                full = _log_prob_slope(logits, target[rows])
            else:
                grads = [None if g is None else g[rows] for g in gradients]
                beside = None if ctx.other is None else ctx.other.logits(rows)
                full = _gradient_by_autograd(
                    logits, target[rows], ctx.readout, ctx.signals, grads, beside
                )
            slope = full.to(hidden.dtype)
            if hidden_gradient is not None:
                torch.mm(slope, cast, out=hidden_gradient[rows])
                hidden_gradient[rows] *= scale[rows]
            if ctx.needs_input_grad[1]:
                add_product(weight, slope, (hidden[rows] * scale[rows]).to(slope.dtype))
            if bias is not None and ctx.needs_input_grad[2]:
                gradient_of(bias).add_((scale[rows].T @ full).squeeze(0))
            if by_hand:
                _give_back(logits, cast)
            del logits, full, slope  # before the next chunk is made
        return hidden_gradient, *(None,) * 7


def _log_prob_slope(
    softmax: Float[Tensor, "token vocab"], target: Int[Tensor, " token"]
) -> Float[Tensor, "token vocab"]:
    """softmax - onehot(target) = -dlog p/dlogits, written over the softmax.

    What multiplies it is one number per token, and waits until the vocabulary is summed over.
    """
    return softmax.scatter_add_(1, target[:, None], -torch.ones_like(softmax[:, :1]))


_spare = threading.local()


def _taken(rows: int, weight: Float[Tensor, "vocab width"]) -> Float[Tensor, "row vocab"]:
    """Room for a chunk of logits: the last one again, where a CPU would fault in every page anew."""
    size = rows * weight.shape[0]
    spare: Tensor | None = _spare.__dict__.pop("chunk", None)
    if spare is None or spare.dtype != weight.dtype or spare.numel() < size:
        return weight.new_empty((rows, weight.shape[0]))
    return spare[:size].view(rows, -1)


def _give_back(chunk: Float[Tensor, "row vocab"], weight: Float[Tensor, "vocab width"]) -> None:
    """Keep a product that nobody reads any more for the next one; GPUs have an allocator for it."""
    if chunk.dtype == weight.dtype and chunk.device.type == "cpu" and not chunk.is_inference():
        _spare.chunk = chunk.new_empty(0).set_(chunk.untyped_storage())


def _sum(gradients: Sequence[Float[Tensor, " token"] | None]) -> Float[Tensor, " token"]:
    return torch.stack([gradient for gradient in gradients if gradient is not None]).sum(0)


def _gradient_by_autograd(
    raw: Float[Tensor, "token vocab"],
    target: Int[Tensor, " token"],
    readout: Readout,
    signals: Sequence[Signal],
    gradients: Sequence[Float[Tensor, " token"] | None],
    other: Float[Tensor, "token vocab"] | None,
) -> Float[Tensor, "token vocab"]:
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        logits = readout.shaped(raw)
        wanted = [(s, g) for s, g in zip(signals, gradients, strict=True) if g is not None]
        values = [signal.value(logits, target, other) for signal, _ in wanted]
        (slope,) = torch.autograd.grad(values, raw, [g for _, g in wanted])
    return slope


def add_product(weight: Tensor, slope: Tensor, hidden: Tensor) -> None:
    """weight.grad += slopeᵀ·hidden."""
    gradient = gradient_of(weight)
    if gradient.dtype == slope.dtype:
        gradient.addmm_(slope.T, hidden)
    else:
        gradient.add_(slope.T @ hidden)


def gradient_of(parameter: Tensor) -> Tensor:
    """Its `.grad`, to be added to in place: zeros where there was none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _chosen(logits: Tensor, target: Tensor) -> Tensor:
    return logits.gather(1, target[:, None]).squeeze(1)


def chunks_of(total: int, size: int) -> list[slice]:
    """Slices of `size` rows, the odd one first: the last, which is kept, is as large as can be."""
    odd = total % size
    whole = [slice(i, i + size) for i in range(odd, total, size)]
    return [slice(0, odd), *whole] if odd else whole
