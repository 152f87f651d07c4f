"""The start-up check: is sharing prompts right on *this* model? Measured, not assumed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collimate._checks import BadModel
from collimate._types import Answer, Example
from collimate.engine.model import LogProbModel, causal_model, context_of, vocabulary_of
from collimate.engine.packing import Packed, pack_plain, pack_shared
from collimate.engine.runtime import is_out_of_memory

LAYOUTS: Mapping[bool, str] = {True: "shared", False: "plain"}
"""Names in records and fingerprints, by whether answers share their prompt."""

_SAMPLED = 4096  # gradient entries compared per parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutCheck:
    """What the start-up check found.

    shared: whether answers may share their prompt. log_prob: largest difference of a token's
    log-prob between the shared and the plain computation (nats). gradient: largest difference of a
    sampled gradient entry, relative to the largest. tolerance: what both are held to.
    """

    shared: bool
    reason: str
    log_prob: float
    gradient: float
    tolerance: float

    @property
    def layout(self) -> str:
        """Its name in records and fingerprints."""
        return LAYOUTS[self.shared]

    def to_json(self) -> Mapping[str, object]:
        """For the run record; what is not finite is null, as JSON has no infinity."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def check_layout(model: nn.Module, *, longest: int, gradients: bool = True) -> LayoutCheck:
    """Compare the engine with a plain forward of the model, log-probs and (to train) gradients.

    The probe is a row of made-up examples with two and three answers, one longer than any attention
    window (but no longer than `longest`, the longest example of the data), some attended together
    and some alone, on the weights as they are. Where sharing differs by more than the tolerance,
    the plain layout is used and the reason says so.

    Errors: BadModel if even the plain layout differs from the model's own logits, or gives its
    parameters another gradient.
    """
    causal = causal_model(model)
    probe = _probe(model, longest)
    tolerance = 1e-4 if causal.dtype in (torch.float32, torch.float64) else 0.1
    expected, expected_slopes = _measure_model(model, probe, gradients)
    plain, plain_slopes = _measure_engine(
        LogProbModel(model, shared=False), pack_plain(probe), gradients
    )
    if not (plain - expected).abs().max() <= tolerance:
        raise BadModel(
            f"{type(causal).__name__}: log-probs computed from its backbone and output head differ "
            f"by {(plain - expected).abs().max():.2g} nats from its own logits, so it does "
            "something to its logits that this version does not know"
        )
    if not _relative_difference(plain_slopes, expected_slopes) <= 10 * tolerance:
        raise BadModel(
            f"{type(causal).__name__}: the gradient through its backbone and output head is not that "
            "of its own logits; an adapter on the output head is not supported: train one without it"
        )
    try:
        got, slopes = _measure_engine(
            LogProbModel(model, shared=True, together=_TOGETHER), pack_shared(probe), gradients
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
        reason = f"the architecture does not take rows with shared prompts ({type(error).__name__})"
        return LayoutCheck(
            shared=False,
            reason=reason,
            log_prob=float("inf"),
            gradient=float("inf"),
            tolerance=tolerance,
        )
    log_prob = (got - expected).abs().max().item()
    gradient = _relative_difference(slopes, expected_slopes)
    shared = log_prob <= tolerance and gradient <= 10 * tolerance
    reason = "shared and plain computation agree"
    if not log_prob <= tolerance:
        reason = f"shared prompts change this model's log-probs by {log_prob:.2g} nats"
    elif not shared:
        reason = (
            f"shared prompts change this model's gradient by {gradient:.2g} of its largest entry"
        )
    return LayoutCheck(
        shared=shared, reason=reason, log_prob=log_prob, gradient=gradient, tolerance=tolerance
    )


def require_readable(model: nn.Module, examples: Sequence[Example]) -> None:
    """Errors: BadModel where a reference cannot read the examples: their ids, or their length."""
    rows, context = vocabulary_of(model), context_of(model)
    for example in examples:
        ids = (example.prompt, *(answer.ids for answer in example.answers))
        largest = max(int(part.max()) for part in ids if len(part))
        if largest >= rows:
            raise BadModel(
                f"the reference has a vocabulary of {rows}, and row {example.row} holds token id "
                f"{largest}: give a reference that shares the policy's tokenizer"
            )
        length = len(example.prompt) + max(len(answer.ids) for answer in example.answers)
        if context is not None and length > context:
            raise BadModel(
                f"the reference reads {context} tokens, and row {example.row} has {length}: give a "
                "reference with a longer context, or shorten rows with max_prompt and max_answer"
            )


_TOGETHER = 12  # tokens attended together in the probe, which thus shows both ways in few


def _probe(model: nn.Module, longest: int) -> tuple[Example, ...]:
    window = getattr(causal_model(model).config, "sliding_window", None) or 0
    vocabulary = vocabulary_of(model)
    length = max(8, min(window + 8, longest - 8))
    generator = np.random.default_rng(0)

    def example(prompt: int, *answers: int) -> Example:
        ids = [generator.integers(0, vocabulary, n) for n in (prompt, *answers)]
        return Example(prompt=ids[0], answers=tuple(Answer(ids=i) for i in ids[1:]), row=0)

    return example(8, 4, 3), example(length, 5, 7), example(3, 2, 1), example(2, 1, 2, 1)


def _measure_model(
    model: nn.Module, probe: Sequence[Example], gradients: bool
) -> tuple[Float[Tensor, " token"], dict[str, Tensor]]:
    """Log-probs by the model's own logits, one answer at a time, unpadded; sampled gradients.

    Gradients are those of one padded forward pass: a pass for each answer would fill every weight's
    gradient anew.
    """
    device = causal_model(model).device
    with _probing(model, gradients=False):
        parts: list[Tensor] = []
        for example in probe:
            for answer in example.answers:
                row = (
                    torch.from_numpy(np.concatenate((example.prompt, answer.ids))).long().to(device)
                )
                logits = _logits(model, row[None], len(answer.ids) + 1)[0, :-1]
                parts.append(_chosen(logits, row[len(example.prompt) :]))
    if not gradients:
        return torch.cat(parts), {}
    with _probing(model, gradients=True):
        packed = pack_plain(probe).to(device)
        assert packed.filled is not None
        logits = model(
            input_ids=packed.ids, attention_mask=packed.filled.long(), use_cache=False
        ).logits
        values = _chosen(logits.flatten(0, 1)[packed.select], packed.target)
        return torch.cat(parts), _slopes(model, values)


def _chosen(
    logits: Float[Tensor, "token vocab"], target: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.log_softmax(-1).gather(1, target[:, None]).squeeze(1)


def _logits(model: nn.Module, ids: Tensor, last: int) -> Float[Tensor, "row last vocab"]:
    """The model's own logits at the last positions; only those are made, where it can be asked to."""
    forward = inspect.signature(causal_model(model).forward).parameters
    only = {"logits_to_keep": last} if "logits_to_keep" in forward else {}
    return model(input_ids=ids, use_cache=False, **only).logits[:, -last:]


def _measure_engine(
    engine: LogProbModel, packed: Packed, gradients: bool
) -> tuple[Float[Tensor, " token"], dict[str, Tensor]]:
    with _probing(engine.model, gradients=gradients):
        (values,) = engine(packed.to(causal_model(engine.model).device))
        return values.detach(), _slopes(engine.model, values)


@contextmanager
def _probing(model: nn.Module, *, gradients: bool) -> Iterator[None]:
    """Run in eval mode; mode and gradients of the model are left as they were."""
    training, kept = model.training, [(p, p.grad) for p in model.parameters()]
    model.eval().zero_grad(set_to_none=True)
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        model.train(training)
        for parameter, gradient in kept:
            parameter.grad = gradient


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


def _relative_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    if a.keys() != b.keys():
        return float("inf")
    if not a:
        return 0.0
    largest = max(x.abs().max().item() for x in b.values())
    return max((a[name] - b[name]).abs().max().item() for name in a) / max(largest, 1e-30)
