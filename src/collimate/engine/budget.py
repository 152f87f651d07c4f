"""How many tokens a micro-batch may hold, from one measurement of what a token costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from collimate._checks import BadConfig
from collimate._types import Example
from collimate.engine.evaluate import Autocast, pack
from collimate.engine.memory import memory_in_use, peak_memory, reset_peak_memory
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.plan import micro_batches
from collimate.engine.processes import ALONE, Processes
from collimate.engine.sizes import activation_bytes

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
    processes: Processes = ALONE,
) -> int:
    """The most tokens per micro-batch whose training stays within `memory` gigabytes.

    The first micro-batch of the longest examples is run forward once, as in training; what it takes
    per token, chunk of logits included, scales. It counts for no less than the estimate of `sizes.py`:
    memory that the allocator held back hides a part of what is measured, and the backward pass of
    activation checkpointing holds a layer that the forward pass does not. Gradients, optimiser and a
    reference kept as a model come on top of what is in use now. Of several processes the smallest
    number holds for all.

    Errors: BadConfig where not even the longest example fits, or the system tells no peak.
    """
    sample = [examples[i] for i in micro_batches(examples, _PROBED, shared=model.shared)[0]]
    longest = max(_filled(model, [example]) for example in examples)
    device = causal_model(model.model).device
    before = memory_in_use(device)
    reset_peak_memory(device)
    with torch.enable_grad(), autocast():
        outputs = model(pack(model, sample))
    peak = peak_memory(device)
    del outputs
    if peak is None:
        raise BadConfig(
            "memory_budget measures the peak of memory, which this system does not tell: give "
            "tokens_per_micro_batch instead"
        )
    filled = _filled(model, sample)
    estimated = activation_bytes(model.model, tokens=filled, recompute=model.recompute)
    per_token = max(peak - before, estimated) / filled
    fixed = before + sizes["gradients"] + sizes["optimizer"] + sizes.get("reference", 0)
    tokens = processes.least(int(_USED * (memory * GIGABYTE - fixed) / per_token))
    if tokens < longest:
        needed = (fixed + longest * per_token / _USED) / GIGABYTE
        raise BadConfig(
            f"memory_budget of {memory:g} GB is too small: the longest example has {longest} tokens "
            f"and takes {needed:.2f} GB with weights, gradients and optimizer; give more, shorten rows "
            "(max_prompt, max_answer), or use activation_checkpointing or lora_rank"
        )
    return tokens


def _filled(model: LogProbModel, examples: Sequence[Example]) -> int:
    return pack(model, examples).ids.numel()
