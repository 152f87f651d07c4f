"""Log-probs of the head by two Triton kernels: for GPUs, where they are equal to `head` and faster.

The products with the weight stay the library's. What `head` does to a chunk of logits in several
passes over float32 copies is done here in one read forward (largest logit, sum of exponentials and
the target's logit of each block of the vocabulary) and one read and write backward (the logits
become softmax - onehot in place, in their own dtype, soft-cap and scale included). Neither kernel
loops: a program has one block of one row, and torch adds up the blocks' few numbers.

Imports Triton; whoever imports this module has asked `kernels` first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from collimate.axes import Signal
from collimate.engine.head import (
    OtherModel,
    Readout,
    add_product,
    chunk_rows,
    chunks_of,
    gradient_of,
    head_signals,
)
from collimate.signals import LogProb

BLOCK = 4096
"""Logits per program: sixteen for each of its 256 threads."""


def fused_signals(
    hidden: Float[Tensor, "token width"],
    target: Int[Tensor, " token"],
    readout: Readout,
    signals: Sequence[Signal],
    other: OtherModel | None = None,
) -> tuple[Float[Tensor, " token"], ...]:
    """What `head_signals` says: by the kernels where log-probs alone are asked for, else by itself.

    Gradients of weight and bias are added in place to `.grad`, as there. float64 has no kernel.
    """
    by_kernel = all(isinstance(signal, LogProb) for signal in signals)
    if not by_kernel or hidden.dtype == torch.float64 or not len(target):
        return head_signals(hidden, target, readout, signals, other)
    trained = any(x is not None and x.requires_grad for x in (hidden, readout.weight, readout.bias))
    keep = torch.is_grad_enabled() and trained
    value = _FusedHead.apply(hidden, readout.weight, readout.bias, target, readout, keep)
    return (value,) * len(signals)


class _FusedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        readout: Readout,
        keep: bool,
    ) -> Tensor:
        frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        chunks = chunks_of(len(target), chunk_rows(weight.shape[0]))
        cast = weight.to(hidden.dtype)
        values: list[Tensor] = []
        norms: list[tuple[Tensor, Tensor]] = []
        slopes: list[Tensor] = []
        ctx.kept = None
        for rows in chunks:
            product = hidden[rows] @ cast.T
            value, *norm = log_probs(product, target[rows], readout)
            values.append(value)
            norms.append((norm[0], norm[1]))
            if keep and frozen:
                slopes.append(slope_(product, target[rows], norms[-1], readout) @ cast)
            elif keep and rows is chunks[-1]:
                ctx.kept = product
            del product  # before the next chunk is made
        ctx.has_slope = bool(slopes)
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        else:
            ctx.save_for_backward(hidden, weight, bias, target)
        ctx.readout, ctx.chunks, ctx.norms = readout, chunks, norms
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = -gradients[0][:, None]
        if ctx.has_slope:
            (slope,) = ctx.saved_tensors
            return (slope * scale).to(slope.dtype), *(None,) * 5
        hidden, weight, bias, target = ctx.saved_tensors
        cast = weight.to(hidden.dtype)
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # Written over here; another backward pass through the same graph computes it again.
        kept, ctx.kept = ctx.kept, None
        for rows, norm in zip(reversed(ctx.chunks), reversed(ctx.norms), strict=True):
            product = hidden[rows] @ cast.T if kept is None else kept
            kept = None
            slope = slope_(product, target[rows], norm, ctx.readout)
            if hidden_gradient is not None:
                torch.mm(slope, cast, out=hidden_gradient[rows])
                hidden_gradient[rows] *= scale[rows]
            if ctx.needs_input_grad[1]:
                add_product(weight, slope, (hidden[rows] * scale[rows]).to(slope.dtype))
            if bias is not None and ctx.needs_input_grad[2]:
                gradient_of(bias).add_((scale[rows].T @ slope.float()).squeeze(0))
            del product, slope  # before the next chunk is made
        return hidden_gradient, *(None,) * 5


def log_probs(
    product: Float[Tensor, "row vocab"], target: Int[Tensor, " row"], readout: Readout
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"], Float[Tensor, " row"]]:
    """log p(target), the largest logit m, and log sum exp(logits - m); float32, nats.

    product: W·h, contiguous; bias, scale and soft-cap of the readout are applied on the way. m and
    the rest stay apart: in their sum a logit of 1000 would leave the rest four digits.
    """
    rows, vocabulary = product.shape
    blocks = math.ceil(vocabulary / BLOCK)
    top, total = product.new_empty((2, rows, blocks), dtype=torch.float32)
    chosen = product.new_empty(rows, dtype=torch.float32)
    _sums[rows, blocks](
        product, target, top, total, chosen, vocabulary, blocks, **_shape_of(readout, product)
    )
    largest = top.amax(1)
    log_sum = (total * (top - largest[:, None]).exp()).sum(1).log()
    return (chosen - largest) - log_sum, largest, log_sum


def slope_(
    product: Float[Tensor, "row vocab"],
    target: Int[Tensor, " row"],
    norm: tuple[Float[Tensor, " row"], Float[Tensor, " row"]],
    readout: Readout,
) -> Float[Tensor, "row vocab"]:
    """-d log p(target) / d product, written over the product, in its dtype.

    norm: the second and third value of `log_probs` of the same product.
    """
    rows, vocabulary = product.shape
    blocks = math.ceil(vocabulary / BLOCK)
    _slope[rows, blocks](product, target, *norm, vocabulary, **_shape_of(readout, product))
    return product


def _shape_of(readout: Readout, product: Tensor) -> dict[str, Any]:
    """What the kernels are told of the readout; a product stands in for what is not there."""
    return {
        "bias": product if readout.bias is None else readout.bias,
        "scale": readout.scale,
        "cap": readout.softcap or 1.0,
        "BIASED": readout.bias is not None,
        "CAPPED": readout.softcap is not None,
        "BLOCK": BLOCK,
        "num_warps": 8,
    }


@triton.jit
@no_type_check
def _shaped(
    product,
    bias,
    column,
    inside,
    scale,
    cap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """Logits, and their derivative by the product: float32."""
    logits = product.to(tl.float32)
    if BIASED:
        logits += tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    logits *= scale
    rate = tl.zeros_like(logits) + scale
    if CAPPED:  # tanh by exp(-2|x|), which neither overflows nor needs a device's library
        small = tl.exp(-2.0 * tl.abs(logits / cap))
        size = cap * (1.0 - small) / (1.0 + small)
        logits = tl.where(logits < 0, -size, size)
        rate *= 4.0 * small / ((1.0 + small) * (1.0 + small))
    return logits, rate


@triton.jit
@no_type_check
def _sums(
    product,
    target,
    top,
    total,
    chosen,
    vocabulary,
    blocks,
    bias,
    scale,
    cap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Of one block of one row: the largest logit, sum exp(logits - largest), the target's logit."""
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    inside = column < vocabulary
    raw = tl.load(product + row * vocabulary + column, mask=inside, other=0.0)
    logits, _ = _shaped(raw, bias, column, inside, scale, cap, BIASED, CAPPED)
    logits = tl.where(inside, logits, float("-inf"))
    largest = tl.max(logits, 0)
    shift = tl.where(largest == float("-inf"), 0.0, largest)  # a bias may rule a whole block out
    tl.store(top + row * blocks + block, largest)
    tl.store(total + row * blocks + block, tl.sum(tl.exp(logits - shift), 0))
    aim = tl.load(target + row)
    if aim // BLOCK == block:
        tl.store(chosen + row, tl.sum(tl.where(column == aim, logits, 0.0), 0))


@triton.jit
@no_type_check
def _slope(
    product,
    target,
    top,
    log_sum,
    vocabulary,
    bias,
    scale,
    cap,
    BIASED: tl.constexpr,
    CAPPED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One block of one row, in place: (softmax - onehot(target)) times the logits' derivative."""
    row, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    inside = column < vocabulary
    at = product + row * vocabulary + column
    raw = tl.load(at, mask=inside, other=0.0)
    logits, rate = _shaped(raw, bias, column, inside, scale, cap, BIASED, CAPPED)
    softmax = tl.exp((logits - tl.load(top + row)) - tl.load(log_sum + row))
    full = tl.where(column == tl.load(target + row), softmax - 1.0, softmax) * rate
    tl.store(at, full.to(raw.dtype), mask=inside)
