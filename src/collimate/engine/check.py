"""The start-up check: is sharing prompts right on *this* model? Measured, not assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from collimate._checks import BadModel
from collimate._types import Answer, Example
from collimate.engine.attention import TOGETHER, attended_together
from collimate.engine.model import LogProbModel, causal_model, vocabulary_of
from collimate.engine.packing import Packed, pack_plain, pack_shared

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

    def to_json(self) -> Mapping[str, object]:
        """For the run record; what is not finite is null, as JSON has no infinity."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def check_layout(model: nn.Module, *, longest: int) -> LayoutCheck:
    """Compare the engine with a plain forward of the model, log-probs and gradients.

    The probe is a row of made-up examples with two and three answers, one longer than any attention
    window (but no longer than `longest`, the longest example of the data), some attended together
    and some alone, on the weights as they are. Where sharing differs by more than the tolerance,
    the plain layout is used and the reason says so.

    Errors: BadModel if even the plain layout differs from the model's own logits.
    """
    causal = causal_model(model)
    probe = _probe(model, longest)
    tolerance = 1e-4 if causal.dtype in (torch.float32, torch.float64) else 0.1
    expected, expected_slopes = _measure_model(model, probe)
    plain, _ = _measure_engine(LogProbModel(model, shared=False), pack_plain(probe))
    if not (plain - expected).abs().max() <= tolerance:
        raise BadModel(
            f"{type(causal).__name__}: log-probs computed from its backbone and output head differ "
            f"by {(plain - expected).abs().max():.2g} nats from its own logits, so it does "
            "something to its logits that this version does not know"
        )
    try:
        got, slopes = _measure_engine(LogProbModel(model, shared=True), pack_shared(probe))
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        KeyError,
        NotImplementedError,
    ) as error:
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


def require_vocabulary(model: nn.Module, examples: Sequence[Example]) -> None:
    """Errors: BadModel where the examples hold a token id that the model has no embedding for."""
    rows = vocabulary_of(model)
    largest = max(
        int(ids.max())
        for example in examples
        for ids in (example.prompt, *(answer.ids for answer in example.answers))
        if len(ids)
    )
    if largest >= rows:
        raise BadModel(
            f"the reference has a vocabulary of {rows}, and the data holds token id {largest}: give a "
            "reference that shares the policy's tokenizer"
        )


def _probe(model: nn.Module, longest: int) -> tuple[Example, ...]:
    window = getattr(causal_model(model).config, "sliding_window", None) or 0
    vocabulary = vocabulary_of(model)
    length = max(8, min(window + 8, longest - 8))
    generator = np.random.default_rng(0)

    def ids(n: int) -> np.ndarray:
        return generator.integers(0, vocabulary, n)

    def example(prompt: int, *answers: int) -> Example:
        return Example(
            prompt=ids(prompt), answers=tuple(Answer(ids=ids(n)) for n in answers), row=0
        )

    probe = [example(max(3, min(TOGETHER, longest) - 11), 8, 3), example(length, 5, 7)]
    while not _both_ways(probe):
        probe.append(example(3, 4, 1, 6))
    return tuple(probe)


def _both_ways(probe: Sequence[Example]) -> bool:
    """Whether some example is attended on its own and some are attended together."""
    alone = [len(group) == 1 for group in attended_together(pack_shared(probe).spans or ())]
    return any(alone) and not all(alone)


def _measure_model(
    model: nn.Module, probe: Sequence[Example]
) -> tuple[Float[Tensor, " token"], dict[str, Tensor]]:
    """Log-probs and sampled gradients by the model's own logits, one answer at a time, unpadded."""
    device = causal_model(model).device
    with _gradients_of(model):
        parts: list[Tensor] = []
        for example in probe:
            for answer in example.answers:
                row = (
                    torch.from_numpy(np.concatenate((example.prompt, answer.ids))).long().to(device)
                )
                logits = model(input_ids=row[None], use_cache=False).logits[0]
                logits = logits[len(example.prompt) - 1 : -1]
                logits = logits if logits.dtype == torch.float64 else logits.float()
                target = row[len(example.prompt) :, None]
                parts.append(logits.log_softmax(-1).gather(1, target).squeeze(1))
        values = torch.cat(parts)
        return values.detach(), _slopes(model, values)


def _measure_engine(
    engine: LogProbModel, packed: Packed
) -> tuple[Float[Tensor, " token"], dict[str, Tensor]]:
    with _gradients_of(engine.model):
        (values,) = engine(packed.to(causal_model(engine.model).device))
        return values.detach(), _slopes(engine.model, values)


class _gradients_of:
    """Run with gradients in eval mode; leave mode and gradients as they were."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.training = self.model.training
        self.model.eval()
        self.grad_mode = torch.enable_grad()
        self.grad_mode.__enter__()

    def __exit__(self, *_: object) -> None:
        self.grad_mode.__exit__(None, None, None)
        self.model.train(self.training)
        self.model.zero_grad(set_to_none=True)


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
