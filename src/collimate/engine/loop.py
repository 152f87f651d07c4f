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
from collimate.engine.evaluate import Autocast, Rows, log_probs
from collimate.engine.metrics import step_metrics
from collimate.engine.model import LogProbModel
from collimate.engine.moving import moving_of
from collimate.engine.noise import with_noise
from collimate.engine.objective import needs_of, updated_states
from collimate.engine.plan import Plan
from collimate.engine.processes import ALONE, Processes, whole
from collimate.engine.step import StepOutcome, gradient_step
from collimate.optim import learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How steps are taken. warmup: steps of linear rise. budget: tokens per micro-batch.

    max_skipped_steps: so many steps without a finite loss and gradient are passed over, in all.
    """

    peak: float
    warmup: int
    schedule: str
    max_gradient_norm: float
    budget: int
    log_every: int
    max_skipped_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """Steps done, how many of them were skipped, and what the methods remember."""

    step: int
    states: tuple[State, ...]
    skipped: int = 0


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
    frozen: LogProbModel | None = None,
    processes: Processes = ALONE,
    similarity: bool = False,
    on_step: Callable[[LoopState, Mapping[str, Any] | None, StepOutcome], bool],
) -> LoopState:
    """Take the steps from `start` to the plan's end; `on_step` sees each and returns whether to go on.

    frozen: the reference as a model, for signals against it, and where it moves with the policy: its
    log-probs are then computed in each step, and `reference` is not read. similarity: whether each step
    measures how alike the answers of its pairs are.

    A step whose loss or gradient is not finite is skipped: its gradient is dropped, weights, optimiser,
    states of the methods and reference stay as they are, and its line says so; it counts for no move
    of the reference. Errors: TrainingFailed where that
    happens more than `max_skipped_steps` times.
    """
    state = start
    parameters = [p for p in model.parameters() if p.requires_grad]
    moving = moving_of(objective, frozen)
    noisy = needs_of(objective).noise
    model.zero_grad(set_to_none=True)  # of a model object that was trained elsewhere
    while state.step < plan.steps:
        began = time.perf_counter()
        chosen = plan.step(state.step)
        batch = [examples[i] for i in chosen]
        if noisy:
            batch = with_noise(batch, seed=plan.seed, step=state.step)
        if moving is not None:  # no one can have stored its rows
            rows = log_probs(
                moving.reference,
                batch,
                budget=settings.budget,
                autocast=autocast,
                processes=processes,
            )
        else:
            rows = None if reference is None else [reference[i] for i in chosen]
        outcome = gradient_step(
            model,
            objective,
            batch,
            rows,
            state.states,
            budget=settings.budget,
            autocast=autocast,
            frozen=frozen,
            processes=processes,
            similarity=similarity,
        )
        processes.sum_gradients(parameters)
        norm = clip_gradients(parameters, settings.max_gradient_norm)
        loss = outcome.loss.item()
        rate = learning_rate(
            state.step,
            steps=plan.steps,
            peak=settings.peak,
            warmup=settings.warmup,
            schedule=settings.schedule,
        )
        taken = not processes.any(not (math.isfinite(loss) and math.isfinite(norm)))
        if taken:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            if moving is not None:  # counted in steps taken, this one included
                moving.after(state.step + 1 - state.skipped, model)
            states = tuple(updated_states(objective, outcome.batch, state.states))
        elif state.skipped >= settings.max_skipped_steps:
            raise TrainingFailed(_given_up(loss, norm, state, [example.row for example in batch]))
        else:
            states = state.states
        model.clear_gradients()
        step, skipped = state.step + 1, state.skipped + (not taken)
        line = None
        if not taken or step % settings.log_every == 0 or step == plan.steps:
            line = {
                "step": step,
                "epoch": round(plan.epoch(step), 6),
                "loss": loss if math.isfinite(loss) else None,
                **(step_metrics(objective, outcome.batch, state.states) if taken else {}),
                "gradient_norm": norm if math.isfinite(norm) else None,
                "learning_rate": rate,
                "pairs": len(batch),
                "tokens": sum(example.tokens for example in batch),
                "skipped_steps": skipped,
                **({} if taken else _skipped(loss, norm, batch)),
                "seconds": round(time.perf_counter() - began, 4),
            }
        state = LoopState(step=step, states=states, skipped=skipped)
        if not on_step(state, line, outcome):
            break
    model.zero_grad(set_to_none=True)
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


def _skipped(loss: float, norm: float, batch: Sequence[Example]) -> Mapping[str, Any]:
    """What the line of a skipped step says beyond the others: why, and which rows it took."""
    return {
        "skipped": f"loss {loss}, gradient norm {norm}",
        "rows": [example.row for example in batch],
    }


def _given_up(loss: float, norm: float, state: LoopState, rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:8]))
    before = f"{state.skipped} steps were skipped before, as many as max_skipped_steps allows; "
    return (
        f"step {state.step + 1}: the loss is {loss} and the gradient norm {norm}; the step was not "
        f"taken. Rows of the step: {shown}{', …' if len(rows) > 8 else ''}. "
        f"{before if state.skipped else ''}the last checkpoint is sound. Usual causes: a learning rate "
        "too high, a divergence whose margin explodes (forward_kl, alpha), a row whose numbers are "
        "extreme, or half precision without autocast; --resume with a larger --max-skipped-steps "
        "goes on over it"
    )
