"""The training loop: steps, optimiser, log lines, checkpoints. It sees an `Objective`, never which."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from collimate._checks import TrainingFailed
from collimate._types import Example
from collimate.axes import State
from collimate.compose import Objective
from collimate.engine.evaluate import Autocast, Rows
from collimate.engine.metrics import step_metrics
from collimate.engine.model import LogProbModel
from collimate.engine.objective import updated_states
from collimate.engine.plan import Plan
from collimate.engine.processes import ALONE, Processes, whole
from collimate.engine.step import StepOutcome, gradient_step
from collimate.optim import learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How steps are taken. warmup: steps of linear rise. budget: tokens per micro-batch."""

    peak: float
    warmup: int
    schedule: str
    max_gradient_norm: float
    budget: int
    log_every: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """Steps done and what the methods remember."""

    step: int
    states: tuple[State, ...]


def run_steps(
    model: LogProbModel,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    examples: Sequence[Example],
    reference: Rows | None,
    start: LoopState,
    settings: LoopSettings,
    *,
    autocast: Autocast,
    processes: Processes = ALONE,
    on_step: Callable[[LoopState, Mapping[str, Any] | None, StepOutcome], bool],
) -> LoopState:
    """Take the steps from `start` to the plan's end; `on_step` sees each and returns whether to go on.

    Errors: TrainingFailed where the loss or the gradient is not finite: the step is not taken, so
    the last checkpoint is sound.
    """
    state = start
    parameters = [p for p in model.parameters() if p.requires_grad]
    model.zero_grad(set_to_none=True)  # of a model object that was trained elsewhere
    while state.step < plan.steps:
        began = time.perf_counter()
        chosen = plan.step(state.step)
        batch = [examples[i] for i in chosen]
        outcome = gradient_step(
            model,
            objective,
            batch,
            None if reference is None else [reference[i] for i in chosen],
            state.states,
            budget=settings.budget,
            autocast=autocast,
            processes=processes,
        )
        processes.sum_gradients(parameters)
        norm = clip_gradients(parameters, settings.max_gradient_norm)
        _require_finite(outcome.loss.item(), norm, state.step, chosen.tolist(), examples)
        rate = learning_rate(
            state.step,
            steps=plan.steps,
            peak=settings.peak,
            warmup=settings.warmup,
            schedule=settings.schedule,
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        model.clear_gradients()
        step = state.step + 1
        line = None
        if step % settings.log_every == 0 or step == plan.steps:
            line = {
                "step": step,
                "epoch": round(plan.epoch(step), 6),
                "loss": outcome.loss.item(),
                **step_metrics(objective, outcome.batch, state.states),
                "gradient_norm": norm,
                "learning_rate": rate,
                "pairs": len(batch),
                "tokens": sum(example.tokens for example in batch),
                "seconds": round(time.perf_counter() - began, 4),
            }
        state = LoopState(
            step=step, states=tuple(updated_states(objective, outcome.batch, state.states))
        )
        if not on_step(state, line, outcome):
            break
    return state


def clip_gradients(parameters: Sequence[Tensor], largest: float) -> float:
    """Scale all gradients together so that their norm is at most `largest`; returns the norm before.

    A norm whose square exceeds float32 is still found: entries are then divided by the largest first.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = _norm(gradients)
    if norm == math.inf:
        peak = _norm(gradients, kind=math.inf)
        if math.isfinite(peak):
            for gradient in gradients:
                gradient.div_(peak)
            scaled = _norm(gradients)
            for gradient in gradients:
                gradient.mul_(largest / scaled)
            return peak * scaled
    if norm > largest:
        for gradient in gradients:
            gradient.mul_(largest / norm)
    return norm


def _norm(gradients: Sequence[Tensor], kind: float = 2.0) -> float:
    return whole(torch.nn.utils.get_total_norm(gradients, norm_type=kind)).item()


def _require_finite(
    loss: float, norm: float, step: int, chosen: Sequence[int], examples: Sequence[Example]
) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    rows = ", ".join(str(examples[i].row) for i in chosen[:8])
    raise TrainingFailed(
        f"step {step + 1}: the loss is {loss} and the gradient norm {norm}; the step was not taken. "
        f"Rows of the step: {rows}{', …' if len(chosen) > 8 else ''}. Usual causes: a learning rate "
        "too high, a divergence whose margin explodes (forward_kl, alpha), or half precision without "
        "autocast"
    )
