"""The start-up check: is sharing prompts right on *this* model? Measured, not assumed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collimate._checks import BadModel
from collimate._types import Answer, Example
from collimate.engine.model import LogProbModel, causal_model, vocabulary_of
from collimate.engine.packing import Packed, pack_plain, pack_shared
from collimate.engine.processes import ALONE, Processes
from collimate.engine.quantize import compute_dtype
from collimate.engine.runtime import is_out_of_memory

LAYOUTS: Mapping[bool, str] = {True: "shared", False: "plain"}
"""Names in records and fingerprints, by whether answers share their prompt."""

Probed = Literal["all", "vectors", "none"]
"""Which gradients the check compares: of any parameter, of norms and biases alone, or none."""

_SAMPLED = 4096  # gradient entries compared per parameter
_FIRST, _LAST = 16, 3  # parameters compared: the embedding and a first layer; the norm and the head


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutCheck:
    """What the start-up check found.

    shared: whether answers may share their prompt. log_prob: largest difference of a token's
    log-prob between the shared and the plain computation (nats), held to `tolerance`. gradient:
    largest difference of a sampled gradient entry, relative to the largest, held to ten times as
    much, for it sums what log-probs differ by; None where none was computed.
    """

    shared: bool
    reason: str
    log_prob: float
    gradient: float | None
    tolerance: float

    @property
    def gradient_tolerance(self) -> float:
        """What a gradient is held to."""
        return gradient_tolerance(self.tolerance)

    @property
    def layout(self) -> str:
        """Its name in records and fingerprints."""
        return LAYOUTS[self.shared]

    def to_json(self) -> Mapping[str, object]:
        """For the run record; what is not finite is null, as JSON has no infinity."""
        found = {**asdict(self), "gradient_tolerance": self.gradient_tolerance}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }


def check_layout(
    model: nn.Module,
    *,
    longest: int,
    gradients: Probed = "all",
    processes: Processes = ALONE,
) -> LayoutCheck:
    """Compare the engine with a plain forward of the model, log-probs and (to train) gradients.

    The probe is a row of made-up examples with two and three answers, one longer than any attention
    window (but no longer than `longest`, the longest example of the data), some attended together
    and some alone, on the weights as they are. Where sharing differs by more than the tolerance,
    the plain layout is used and the reason says so. gradients: those of norms and biases alone show
    what goes wrong on the way back, at no memory.

    Errors: BadModel if even the plain layout differs from the model's own logits, or gives its
    parameters another gradient.
    """
    causal = causal_model(model)
    probe = probe_examples(model, longest)
    tolerance = 1e-4 if compute_dtype(model) in (torch.float32, torch.float64) else 0.1
    probed = probed_parameters(model, gradients)
    expected = _measure_model(model, probe, probed)
    try:
        found = measure_engine(
            LogProbModel(model, shared=True, together=_TOGETHER), pack_shared(probe), probed
        )
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        KeyError,
        NotImplementedError,
    ) as error:
        if is_out_of_memory(error):
            raise
        # Whatever an architecture raises on arguments it does not know, the plain layout serves it.
        log_prob, gradient = math.inf, math.inf if probed else None
        reason = f"the architecture does not take rows with shared prompts ({type(error).__name__})"
    else:
        log_prob, gradient = differences(found, expected)
        reason = "shared prompts change this model's numbers in another process"
        if log_prob > tolerance or math.isnan(log_prob):
            reason = f"shared prompts change this model's log-probs by {log_prob:.2g} nats"
        elif not _agrees(gradient, tolerance):
            reason = f"shared prompts change this model's gradient by {gradient:.2g} of its largest entry"
    agree = log_prob <= tolerance and _agrees(gradient, tolerance)
    if not processes.any(not agree):
        return LayoutCheck(
            shared=True,
            reason="shared and plain computation agree",
            log_prob=log_prob,
            gradient=gradient,
            tolerance=tolerance,
        )
    plain = measure_engine(LogProbModel(model, shared=False), pack_plain(probe), probed)
    _require_sound(causal, *differences(plain, expected), tolerance)
    return LayoutCheck(
        shared=False, reason=reason, log_prob=log_prob, gradient=gradient, tolerance=tolerance
    )


def gradient_tolerance(tolerance: float) -> float:
    """What a gradient is held to where log-probs are held to `tolerance` (nats)."""
    return 10 * tolerance


def _agrees(gradient: float | None, tolerance: float) -> bool:
    """Whether it was not computed, or differs by no more than that of log-probs allows; NaN differs."""
    return gradient is None or gradient <= gradient_tolerance(tolerance)


def _require_sound(
    causal: nn.Module, log_prob: float, gradient: float | None, tolerance: float
) -> None:
    """Errors: BadModel where the plain layout is not the model's own computation either."""
    name = type(causal).__name__
    if not log_prob <= tolerance:
        raise BadModel(
            f"{name}: log-probs computed from its backbone and output head differ by {log_prob:.2g} "
            "nats from its own logits, so it does something to its logits that this version does "
            "not know"
        )
    if not _agrees(gradient, tolerance):
        raise BadModel(
            f"{name}: the gradient through its backbone and output head is not that of its own "
            "logits; an adapter on the output head is not supported: train one without it"
        )


Measured = tuple[Float[Tensor, " token"], Mapping[str, Tensor]]
"""Log-probs, and some gradient entries of each parameter."""

_TOGETHER = 12  # tokens attended together in the probe, which thus shows both ways in few


def probe_examples(model: nn.Module, longest: int) -> tuple[Example, ...]:
    """Made-up examples: one longer than any attention window, but no longer than `longest`."""
    window = getattr(causal_model(model).config.get_text_config(), "sliding_window", None) or 0
    vocabulary = vocabulary_of(model)
    length = max(8, min(window + 8, longest - 8))
    generator = np.random.default_rng(0)

    def example(prompt: int, *answers: int) -> Example:
        ids = [generator.integers(0, vocabulary, n) for n in (prompt, *answers)]
        return Example(prompt=ids[0], answers=tuple(Answer(ids=i) for i in ids[1:]), row=0)

    return example(8, 4, 3), example(length, 5, 7), example(3, 2, 1), example(2, 1, 2, 1)


def _measure_model(
    model: nn.Module, probe: Sequence[Example], probed: Sequence[nn.Parameter]
) -> Measured:
    """Log-probs by the model's own logits in one padded forward pass; sampled gradients."""
    with _probing(model, probed):
        packed = pack_plain(probe).to(causal_model(model).device)
        width = packed.ids.shape[1]
        columns, column = torch.unique(packed.select % width, return_inverse=True)
        logits = _logits(model, packed, columns)
        logits = logits[packed.select // width, column]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        values = logits.log_softmax(-1).gather(1, packed.target[:, None]).squeeze(1)
        return values.detach(), _slopes(model, values)


def _logits(
    model: nn.Module, packed: Packed, columns: Int[Tensor, " column"]
) -> Float[Tensor, "row column vocab"]:
    """The model's own logits at some columns; a row may be as long as an attention window."""
    assert packed.filled is not None
    given = {"input_ids": packed.ids, "attention_mask": packed.filled.long(), "use_cache": False}
    if "logits_to_keep" in inspect.signature(causal_model(model).forward).parameters:
        with suppress(TypeError, IndexError, ValueError):  # a model's own code may want a number
            return model(**given, logits_to_keep=columns).logits
    return model(**given).logits[:, columns]


def measure_engine(
    engine: LogProbModel, packed: Packed, probed: Sequence[nn.Parameter]
) -> Measured:
    """Log-probs by the engine in one forward pass; sampled gradients of `probed`, if there are any."""
    with _probing(engine.model, probed):
        (values,) = engine(packed.to(causal_model(engine.model).device))
        return values.detach(), _slopes(engine.model, values)


@contextmanager
def _probing(model: nn.Module, probed: Sequence[nn.Parameter]) -> Iterator[None]:
    """Run in eval mode; the model's modes, gradients and frozen parameters are left as they were."""
    modes = {module: module.training for module in model.modules()}
    kept = [(p, p.grad) for p in model.parameters()]
    wanted = {id(p) for p in probed}
    left_out = [p for p in model.parameters() if p.requires_grad and id(p) not in wanted]
    model.eval().zero_grad(set_to_none=True)
    for parameter in left_out:
        parameter.requires_grad_(False)
    try:
        with torch.set_grad_enabled(bool(probed)):
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in left_out:
            parameter.requires_grad_(True)
        for parameter, gradient in kept:
            parameter.grad = gradient


def probed_parameters(model: nn.Module, gradients: Probed) -> list[nn.Parameter]:
    """Some trainable parameters: the first of the language model's own, and its tables.

    They are first on the way backward's end, so that what goes wrong before shows in them; the
    gradients of a whole model would take its size and most of the check's time.
    """
    if gradients == "none":
        return []
    matrices = gradients == "all"
    causal: Any = causal_model(model)
    table = causal.get_input_embeddings()
    inside = list(model.modules())
    start = inside.index(table) if table in inside else 0  # towers for images stand before it
    own = {id(p): p for module in inside[start:] for p in module.parameters(recurse=False)}
    trainable = [p for p in own.values() if p.requires_grad and (matrices or p.dim() < 2)]
    head = causal.get_output_embeddings()
    tables = [table.weight, *(() if head is None else head.parameters())]
    wanted = [p for p in tables if p.requires_grad] if matrices else []
    return [*trainable[:_FIRST], *trainable[-_LAST:], *wanted]


def _slopes(model: nn.Module, values: Float[Tensor, " token"]) -> dict[str, Tensor]:
    """Some gradient entries of every trainable parameter, for a fixed mixture of the values."""
    if not values.requires_grad:
        return {}
    mixture = torch.linspace(-1, 1, len(values), dtype=values.dtype, device=values.device)
    (values * mixture).sum().backward()
    return {
        name: parameter.grad.flatten()[:: max(1, parameter.numel() // _SAMPLED)].clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def differences(found: Measured, expected: Measured) -> tuple[float, float | None]:
    """Largest difference of a log-prob, and of a gradient entry relative to the largest, if any."""
    (values, slopes), (true_values, true_slopes) = found, expected
    log_prob = (values - true_values).abs().max().item()
    if slopes.keys() != true_slopes.keys():
        return log_prob, math.inf
    if not slopes:
        return log_prob, None
    largest = torch.stack([x.abs().max() for x in true_slopes.values()]).max().item()
    gaps = [(slopes[name] - true_slopes[name]).abs().max() for name in slopes]
    # torch keeps a NaN, as max() may not.
    return log_prob, torch.stack(gaps).max().item() / max(largest, 1e-30)
