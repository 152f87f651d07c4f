"""How many tokens a micro-batch may hold, from one measurement of what a token costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from collimate._checks import BadConfig
from collimate._types import Example
from collimate.axes import Signal
from collimate.engine.evaluate import Autocast, pack
from collimate.engine.head import Readout, chunk_rows, head_signals
from collimate.engine.memory import memory_in_use, peak_memory, reset_peak_memory
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.packing import Packed
from collimate.engine.plan import micro_batches
from collimate.engine.processes import ALONE, Processes
from collimate.engine.sizes import activation_bytes, signal_bytes
from collimate.signals import LogProb, log_prob
from collimate.token_masks import FromLayers, reads_layers

GIGABYTE = 2**30
_PROBED = 1024  # tokens of the micro-batch that is measured
_USED = 0.9  # of the memory that is left: what the backward pass holds beside the forward's


def tokens_within(
    memory: float,
    model: LogProbModel,
    examples: Sequence[Example],
    sizes: Mapping[str, int],
    *,
    autocast: Autocast,
    signals: Sequence[Signal] = (log_prob,),
    processes: Processes = ALONE,
) -> int:
    """The most tokens per micro-batch whose training stays within `memory` gigabytes.

    The first micro-batch of the longest examples is run forward once, as in training; what it takes
    per token, chunk of logits included, scales. It counts for no less than the estimate of `sizes.py`:
    memory that the allocator held back hides a part of what is measured, and the backward pass of
    activation checkpointing holds a layer that the forward pass does not. Gradients, optimiser and a
    reference kept as a model come on top of what is in use now, and so does what the head takes for
    `signals` beyond log-probs, forward and backward: copies of a chunk, however many tokens there are.
    Where they compare with a reference the policy stands in for it. Of several processes the smallest
    number holds for all.

    Errors: BadConfig where not even the longest example fits, or the system tells no peak.
    """
    sample = [examples[i] for i in micro_batches(examples, _PROBED, shared=model.shared)[0]]
    longest = max(_filled(model, [example]) for example in examples)
    device = causal_model(model.model).device
    used = memory_in_use(device)
    packed = pack(model, sample)
    head, beside = 0, 0
    if not all(isinstance(signal, LogProb) for signal in signals):
        head, beside = _head_takes(model, packed, signals, autocast)
    before = memory_in_use(device)
    reset_peak_memory(device)
    with torch.enable_grad(), autocast():
        outputs = model(packed)
    peak = peak_memory(device)
    del outputs
    if peak is None:
        raise BadConfig(
            "memory_budget measures the peak of memory, which this system does not tell: give "
            "tokens_per_micro_batch instead"
        )
    filled = packed.ids.numel()
    estimated = activation_bytes(model.model, tokens=filled, recompute=model.recompute)
    per_token = (max(peak - before, estimated) + beside) / filled
    fixed = used + head + sizes["gradients"] + sizes["optimizer"] + sizes.get("reference", 0)
    tokens = processes.least(int(_USED * (memory * GIGABYTE - fixed) / per_token))
    if tokens < longest:
        needed = (fixed + longest * per_token / _USED) / GIGABYTE
        raise BadConfig(
            f"memory_budget of {memory:g} GB is too small: the longest example has {longest} tokens "
            f"and takes {needed:.2f} GB with weights, gradients and optimizer; give more, shorten rows "
            "(max_prompt, max_answer), or use activation_checkpointing or lora_rank"
        )
    return tokens


def _head_takes(
    model: LogProbModel, packed: Packed, signals: Sequence[Signal], autocast: Autocast
) -> tuple[int, int]:
    """Bytes at the peak of the head's passes over a full chunk, and of a reference's hidden states."""
    from_logits = [signal for signal in signals if not isinstance(signal, FromLayers)]
    with autocast():
        said = model.said(packed, layers=reads_layers(signals))
    own = said.readout
    bias = None if own.bias is None else own.bias.detach()
    readout = Readout(own.weight.detach(), bias, scale=own.scale, softcap=own.softcap)
    hidden = said.hidden.clone().requires_grad_()
    before = memory_in_use(hidden.device)
    reset_peak_memory(hidden.device)
    with torch.enable_grad():
        values = head_signals(hidden, packed.target, readout, from_logits, said)
        torch.autograd.grad(values, hidden, [torch.ones_like(value) for value in values])
    peak = peak_memory(hidden.device) or before
    rows = chunk_rows(len(own.weight))
    taken = (peak - before) * rows // min(rows, len(packed.target))
    compares = any(signal.against != "none" for signal in signals)
    beside = hidden.nbytes if compares else 0
    if said.layers is not None:  # once as the layers gave them, once at the answers' positions
        beside += said.layers.nbytes + said.layers[:, :1].nbytes * packed.ids.numel()
    return max(taken, signal_bytes(model.model, signals)), beside


def _filled(model: LogProbModel, examples: Sequence[Example]) -> int:
    return pack(model, examples).ids.numel()
