"""The start-up trial of the kernels for GPUs: used where they are equal here and faster here.

Measured on the user's own model and device, each against the path that runs everywhere. A kernel
that differs, is slower, or does not run (no Triton, no compiler, an architecture it does not know)
is left, and the record says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from collimate._types import Answer, Example
from collimate.engine.check import (
    Measured,
    Probed,
    differences,
    gradient_tolerance,
    measure_engine,
    probe_examples,
    probed_parameters,
)
from collimate.engine.head import Readout, chunk_rows, head_signals
from collimate.engine.model import Kernels, LogProbModel, causal_model, vocabulary_of
from collimate.engine.packing import pack_shared
from collimate.engine.processes import ALONE, Processes
from collimate.engine.quantize import compute_dtype
from collimate.engine.trial import Name, Trial
from collimate.signals import log_prob

Timer = Callable[[Callable[[], object], torch.device], float]

_REPEATS = 5
_ROW, _EXAMPLE = 4096, 1024  # tokens of the timed row, and of the longest example in it


@contextmanager
def using(engine: LogProbModel, kernels: Kernels) -> Iterator[None]:
    """Within the context the engine computes by these kernels."""
    before = engine.kernels
    engine.kernels = kernels
    try:
        yield
    finally:
        engine.kernels = before


def choose_kernels(
    engine: LogProbModel,
    *,
    longest: int,
    tokens: int,
    autocast: Callable[[], AbstractContextManager[object]],
    gradients: Probed = "all",
    processes: Processes = ALONE,
) -> Mapping[Name, Trial]:
    """Try each kernel on a CUDA device, and say what was found. Elsewhere there is nothing to try.

    longest: tokens of the longest example of the data. tokens: of a micro-batch. autocast: the
    precision that the run computes in. gradients: as `check.check_layout` takes them. Every process
    uses what all of them found good.
    """
    if causal_model(engine.model).device.type != "cuda":
        return {}
    with autocast():
        return try_kernels(
            engine, longest=longest, tokens=tokens, gradients=gradients, processes=processes
        )


def try_kernels(
    engine: LogProbModel,
    *,
    longest: int,
    tokens: int,
    gradients: Probed = "all",
    processes: Processes = ALONE,
    timer: Timer | None = None,
) -> Mapping[Name, Trial]:
    """As `choose_kernels`, on any device, in the precision that is in force. timer: `median_seconds`."""
    found: dict[Name, Trial] = {}
    if engine.shared:
        found["attention"] = try_attention(
            engine, longest=longest, tokens=tokens, gradients=gradients, timer=timer
        )
    found["head"] = try_head(engine, timer=timer)
    for name, trial in found.items():
        if processes.any(not trial.used) and trial.used:
            found[name] = replace(trial, used=False, reason="another process found it unfit")
    return found


def try_attention(
    engine: LogProbModel,
    *,
    longest: int,
    tokens: int,
    gradients: Probed = "all",
    timer: Timer | None = None,
) -> Trial:
    """FlexAttention against the pieces, through the whole model: forward, and backward if asked for.

    Compared on the start-up check's probe and on a row of `tokens`, at most 4096; timed on the row.
    """
    probed = probed_parameters(engine.model, gradients)
    device = causal_model(engine.model).device
    probe = pack_shared(probe_examples(engine.model, longest))
    row = pack_shared(_made_up(vocabulary_of(engine.model), longest, min(tokens, _ROW)))

    def pass_over(packed: Any, kernels: Kernels) -> Measured:
        with using(engine, kernels):
            return measure_engine(engine, packed, probed)

    def both(kernels: Kernels) -> Measured:
        (first, slopes), (second, more) = pass_over(probe, kernels), pass_over(row, kernels)
        return torch.cat([first, second]), {
            **slopes,
            **{f"{name} (row)": slope for name, slope in more.items()},
        }

    before, kernels = replace(engine.kernels, attention=False), Kernels(attention=True)
    tolerance = 1e-4 if _dtype(engine) in (torch.float32, torch.float64) else 0.1
    return _tried(
        lambda: both(kernels),
        lambda: both(before),
        timed=(lambda: pass_over(row, kernels), lambda: pass_over(row, before)),
        gaps=differences,
        tolerances=(tolerance, gradient_tolerance(tolerance)),
        timer=timer,
        device=device,
    )


def try_head(engine: LogProbModel, *, timer: Timer | None = None) -> Trial:
    """Triton against the chunked path: one chunk of the model's own head, hidden states made up.

    Both read the same product, and what follows is float32: log-probs are held to 1e-4 nats, a
    gradient in half precision to a few of its last digits.
    """
    own, device = engine.readout(), causal_model(engine.model).device
    dtype = _dtype(engine)
    rows = chunk_rows(len(own.weight))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, own.weight.shape[1], generator=generator).to(device, dtype)
    target = torch.randint(len(own.weight), (rows,), generator=generator).to(device)
    mixture = torch.linspace(-1, 1, rows, device=device)

    def pass_through(signals: Callable[..., tuple[Tensor, ...]]) -> Measured:
        with torch.autocast(device.type, enabled=False), torch.enable_grad():
            leaf = hidden.clone().requires_grad_()
            weight, bias = (_alike(tensor) for tensor in (own.weight, own.bias))
            assert weight is not None
            readout = Readout(weight, bias, scale=own.scale, softcap=own.softcap)
            (values,) = signals(leaf, target, readout, (log_prob,))
            (values * mixture).sum().backward()
        named = {"hidden": leaf, "weight": weight, "bias": bias}
        slopes = {n: x.grad for n, x in named.items() if x is not None and x.grad is not None}
        return values.detach(), slopes

    def kernel() -> Measured:
        from collimate.engine.triton_head import fused_signals  # where Triton is, it is there

        return pass_through(fused_signals)

    def before() -> Measured:
        return pass_through(head_signals)

    return _tried(
        kernel,
        before,
        timed=(kernel, before),
        gaps=_gaps_by_tensor,
        tolerances=(1e-4, 1e-4 if dtype == torch.float32 else 2**-6),
        timer=timer,
        device=device,
    )


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Median wall time of a few passes, the device's queue included (s); none before them is timed."""
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times)


def _tried(
    kernel: Callable[[], Measured],
    before: Callable[[], Measured],
    *,
    timed: tuple[Callable[[], object], Callable[[], object]],
    gaps: Callable[[Measured, Measured], tuple[float, float | None]],
    tolerances: tuple[float, float],
    timer: Timer | None,
    device: torch.device,
) -> Trial:
    try:
        expected, found = before(), kernel()
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises, the other path serves
        first = str(error).strip().partition("\n")[0][:200]
        return Trial(used=False, reason=f"does not run here ({type(error).__name__}: {first})")
    log_prob, gradient = gaps(found, expected)
    trial = Trial(
        used=False,
        reason="",
        log_prob=log_prob,
        gradient=gradient,
        tolerance=tolerances[0],
        gradient_tolerance=tolerances[1],
    )
    del found, expected  # before anything is timed: gradients of a head are as large as it
    if not log_prob <= tolerances[0]:
        return replace(trial, reason=f"changes log-probs by {log_prob:.2g} nats")
    if gradient is not None and not gradient <= tolerances[1]:
        return replace(trial, reason=f"changes a gradient by {gradient:.2g} of its largest entry")
    measure = timer or median_seconds
    seconds, seconds_before = (measure(work, device) for work in timed)
    faster = seconds < seconds_before
    return replace(
        trial,
        used=faster,
        reason="equal and faster" if faster else "equal, but not faster",
        seconds=seconds,
        seconds_before=seconds_before,
    )


def _gaps_by_tensor(found: Measured, expected: Measured) -> tuple[float, float | None]:
    """As `check.differences`, but each gradient relative to its own tensor's largest entry."""
    (values, slopes), (true_values, true_slopes) = found, expected
    pairs = [({n: slopes[n]}, {n: true}) for n, true in true_slopes.items()]
    each = [differences((values, a), (true_values, b)) for a, b in pairs]
    log_prob, _ = differences((values, {}), (true_values, {}))
    gradients = [gradient for _, gradient in each if gradient is not None]
    return log_prob, max(gradients, key=lambda x: math.inf if math.isnan(x) else x, default=None)


def _dtype(engine: LogProbModel) -> torch.dtype:
    """What hidden states reach the head in: autocast's dtype, or the weights' own."""
    device = causal_model(engine.model).device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return compute_dtype(engine.model)


def _alike(tensor: Tensor | None) -> Tensor | None:
    """The same numbers with a gradient of its own, if it is trained."""
    return None if tensor is None else tensor.detach().requires_grad_(tensor.requires_grad)


def _made_up(vocabulary: int, longest: int, tokens: int) -> list[Example]:
    """Pairs of random tokens, half prompt, as long as the data's longest or 1024, as many as fit."""
    generator = np.random.default_rng(0)
    length = max(4, min(longest, _EXAMPLE, tokens))
    answer = length // 4

    def ids(n: int) -> np.ndarray:
        return generator.integers(0, vocabulary, n)

    return [
        Example(
            prompt=ids(length - 2 * answer),
            answers=(Answer(ids=ids(answer)), Answer(ids=ids(answer))),
            row=i,
        )
        for i in range(max(1, tokens // length))
    ]
