"""What makes a run this run: a hash of everything that decides its bits."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any

from torch import Tensor

from collimate.compose import Objective
from collimate.engine.loop import LoopSettings
from collimate.engine.plan import Plan
from collimate.jobs.prepare import Prepared
from collimate.jobs.settings import TrainSettings


def run_identity(
    objective: Objective, prepared: Prepared, options: TrainSettings, plan: Plan, loop: LoopSettings
) -> str:
    """Hex sha256 of objective, data, reference, model, plan and options.

    A run continues to the same bits only where all of it is the same; what quantize does is in the
    model's fingerprint. max_skipped_steps is left out
    on purpose: it says when a run gives up, and a run that gave up goes on with a larger one.
    """
    held_out = prepared.evaluation
    parts = {
        "objective": describe(objective),
        "data": prepared.train.facts.hash,
        "evaluation": None if held_out is None else held_out.facts.hash,
        "reference": None if prepared.reference is None else prepared.reference.hash,
        "model": prepared.fingerprint,
        "plan": [plan.examples, plan.batch_size, plan.steps, plan.seed],
        "loop": [loop.peak, loop.warmup, loop.schedule, loop.max_gradient_norm, loop.budget],
        "options": [
            options.weight_decay,
            options.precision,
            options.dropout,
            options.lora_rank,
            options.lora_alpha,
            options.optimizer,
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe(value: Any, _depth: int = 8) -> Any:
    """A method and all it is made of, as JSON: numbers to the last bit, functions by their source.

    What a function has captured counts too, and what it reads of its own file; nesting deeper than
    `_depth` is described by its type.

    >>> from collimate.tradeoffs import fixed
    >>> describe(fixed(0.1))["value"]
    0.1
    """
    inner = partial(describe, _depth=_depth - 1)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if not _depth:
        return type(value).__qualname__
    if isinstance(value, Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): inner(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [inner(item) for item in value]
    if isinstance(value, partial):
        return [inner(value.func), inner(value.args), inner(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        kept = {field.name: inner(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__qualname__, **kept}
    if inspect.isfunction(value):
        variables = inspect.getclosurevars(value)
        read = {k: v for k, v in variables.globals.items() if _belongs_to(value, v)}
        captured = (value.__defaults__, value.__kwdefaults__, variables.nonlocals, read)
        return [_source(value), *map(inner, captured)]
    if inspect.isroutine(value) or inspect.isclass(value):
        return _source(value)
    return [_source(type(value)), inner(getattr(value, "__dict__", None))]


def _belongs_to(function: Any, read: Any) -> bool:
    """Whether a global is the user's: a value, or a function of the same file, not a library's."""
    if inspect.isroutine(read) or inspect.isclass(read):
        return read.__module__ == function.__module__
    return not inspect.ismodule(read)


def _source(thing: Any) -> str:
    """Source text where there is any, else the name."""
    return _read_source(thing) if not inspect.isclass(thing) else _class_source(thing)


@cache
def _class_source(kind: type) -> str:
    """Remembered: to find a class, Python 3.11 and 3.12 parse the whole of its file."""
    return _read_source(kind)


def _read_source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return f"{thing.__module__}.{thing.__qualname__}"
