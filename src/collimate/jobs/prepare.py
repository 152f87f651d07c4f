"""Everything a run needs before its first step: data, model, layout, reference. Nothing is written."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from collimate._checks import BadComposition, BadConfig, BadData, CollimateError
from collimate._types import Example
from collimate.compose import Objective
from collimate.data import Loaded
from collimate.engine.budget import tokens_within
from collimate.engine.cache import collect, default_cache
from collimate.engine.check import LayoutCheck, check_layout, require_readable
from collimate.engine.evaluate import Rows, stored_log_probs
from collimate.engine.fingerprint import column_hash, model_fingerprint, sequence_key
from collimate.engine.load import (
    AnyModel,
    Tokenizer,
    add_lora,
    load_model,
    load_tokenizer,
    name_of,
    require_no_adapter,
)
from collimate.engine.model import LogProbModel, causal_model
from collimate.engine.objective import (
    couples_batch,
    initial_states,
    needs_reference,
    objective_value,
)
from collimate.engine.processes import Processes
from collimate.engine.runtime import Runtime
from collimate.engine.shape import outline
from collimate.engine.sharding import shard
from collimate.engine.sizes import run_sizes
from collimate.engine.step import stand_in
from collimate.engine.store import LogProbStore
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples
from collimate.jobs._phases import Phases
from collimate.jobs.settings import TrainSettings
from collimate.signals import log_prob

_TRIED = 4  # rows that an objective is computed on before anything long begins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """The reference's log-probs of the training and the held-out answers, and where they came from."""

    train: Rows
    evaluation: Rows | None
    hash: str
    computed: int
    from_cache: int
    is_policy: bool  # the policy as passed, so that every log-ratio starts at zero


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A run that can begin."""

    runtime: Runtime
    processes: Processes
    tokenizer: Tokenizer
    model: nn.Module
    engine: LogProbModel
    train: Loaded
    evaluation: Loaded | None
    check: LayoutCheck
    fingerprint: str
    reference: Reference | None
    sizes: Mapping[str, int]  # bytes that training will take, by what they hold
    budget: int  # tokens per micro-batch
    exact: bool  # weights in float32 or better


def prepare(
    model: AnyModel,
    data: Any,
    *,
    objective: Objective,
    tokenizer: Any,
    reference: AnyModel | None,
    evaluation: Any,
    settings: TrainSettings,
    folder: Path,
    budget: int | None,
    console: Console,
    phases: Phases,
) -> Prepared:
    """Load and check in the order that fails cheapest first.

    budget: tokens per micro-batch of the run that goes on, None for a new one. Errors: any
    `CollimateError`.
    """
    if settings.dropout and couples_batch(objective):
        raise BadConfig(
            f"'{objective.name}' couples the examples of a step and is differentiated in two passes, "
            "which dropout would make see two models: leave out dropout"
        )
    runtime = Runtime(
        device=settings.device,
        precision=settings.precision,
        trackers=settings.trackers,
        folder=folder,
    )
    console.enabled = console.enabled and runtime.processes.is_main
    if settings.dropout and runtime.processes.count > 1:
        raise BadConfig("several processes would drop the same units: leave out dropout")
    with phases.phase("load"):
        tokens = load_tokenizer(tokenizer, model, trust_remote_code=settings.trust_remote_code)
        policy = load_model(model, trust_remote_code=settings.trust_remote_code)
        _require_float32(policy, settings)
        if settings.lora_rank is not None:
            require_no_adapter(policy)
        policy.to(runtime.device)
        policy.train(settings.dropout)
        recompute = settings.activation_checkpointing
        if causal_model(policy).is_activation_checkpointing:  # ours knows of shared prompts
            causal_model(policy).activation_checkpointing_disable()
            recompute = True
    with phases.phase("tokenise"):
        loaded = _load(data, tokens, policy, settings, console, "reading")
        held_out = (
            None
            if evaluation is None
            else _load(
                evaluation, tokens, policy, replace(settings, limit=None), console, "held out"
            )
        )
    sets = [part for part in (loaded, held_out) if part is not None]
    for part in sets:
        _require_computable(objective, part)
    longest = max(example.tokens for part in sets for example in part.examples)
    sizes = _sizes(policy, longest, settings)
    gigabytes = " + ".join(f"{name} {size / 2**30:.2f}" for name, size in sizes.items())
    console.say(f"memory to expect, in GB: {gigabytes}")
    with phases.phase("check"):
        # Under LoRA the base is frozen: its gradient would cost what LoRA is there to save.
        check = check_layout(policy, longest=longest, gradients=settings.lora_rank is None)
        console.say(
            f"layout: {'shared prompts' if check.shared else 'plain rows'} ({check.reason})"
        )
        fingerprint = model_fingerprint(policy, layout=check.layout, precision=settings.precision)
    engine = LogProbModel(policy, shared=check.shared, recompute=recompute)
    if budget is None:
        budget = settings.tokens_per_micro_batch
        if settings.memory_budget is not None:
            found = tokens_within(
                settings.memory_budget,
                engine,
                loaded.examples,
                sizes,
                autocast=runtime.autocast,
            )
            budget = runtime.processes.least(found)
            console.say(f"{budget} tokens per micro-batch fit in {settings.memory_budget:g} GB")
    column = None
    if needs_reference(objective):
        with phases.phase("reference"):
            parts = [part.examples for part in sets]
            column = _reference(
                engine,
                fingerprint,
                model,
                reference,
                parts,
                settings,
                budget,
                runtime,
                console,
            )
    if settings.lora_rank is not None:
        policy = add_lora(policy, rank=settings.lora_rank, alpha=settings.lora_alpha)
        policy.train(settings.dropout)
        engine = LogProbModel(policy, shared=check.shared, recompute=recompute)
    if not any(p.requires_grad for p in policy.parameters()):
        raise BadConfig("no parameter of the model is trainable: unfreeze some, or give lora_rank")
    processes = runtime.processes
    if settings.parallel == "fsdp2" and processes.count > 1:
        processes = replace(processes, sharded=True)
        shard(engine, processes)
    return Prepared(
        runtime=runtime,
        processes=processes,
        tokenizer=tokens,
        model=policy,
        engine=engine,
        train=loaded,
        evaluation=held_out,
        check=check,
        fingerprint=fingerprint,
        reference=column,
        sizes=sizes,
        budget=budget,
        exact=causal_model(policy).dtype in (torch.float32, torch.float64),
    )


def _load(
    source: Any,
    tokenizer: Tokenizer,
    model: nn.Module,
    settings: TrainSettings,
    console: Console,
    what: str,
) -> Loaded:
    with console.bar(what, total=None) as bar:
        return load_examples(
            source,
            tokenizer,
            model,
            **settings.of_data(),
            advance=bar.advance,
        )


def _reference(
    engine: LogProbModel,
    fingerprint: str,
    model: AnyModel,
    reference: AnyModel | None,
    parts: Sequence[Sequence[Example]],
    settings: TrainSettings,
    budget: int,
    runtime: Runtime,
    console: Console,
) -> Reference:
    everything = [example for part in parts for example in part]
    if reference is not None:
        other = load_model(reference, trust_remote_code=settings.trust_remote_code)
        require_readable(other, everything)
        other.to(runtime.device).eval()
        longest = max(example.tokens for example in everything)
        check = check_layout(other, longest=longest, gradients=False)
        engine = LogProbModel(other, shared=check.shared)
        fingerprint = model_fingerprint(other, layout=check.layout, precision=settings.precision)
    root = Path(settings.cache) if settings.cache is not None else default_cache()
    store = LogProbStore(
        root,
        fingerprint,
        keys={
            sequence_key(example, answer) for example in everything for answer in example.answers
        },
        description={
            "model": name_of(model if reference is None else reference),
            "architecture": type(causal_model(engine.model)).__name__,
            "layout": "shared" if engine.shared else "plain",
            "precision": settings.precision,
        },
    )
    for path in store.torn:
        console.say(
            f"not read, and computed again: a damaged segment of the reference cache, {path}; "
            "`collimate cache verify --delete` removes it"
        )
    training = engine.model.training
    engine.model.eval()
    with console.bar("reference", total=len(everything)) as bar:
        columns, computed = stored_log_probs(
            engine,
            parts,
            store,
            budget=budget,
            autocast=runtime.autocast,
            progress=bar.advance,
            processes=runtime.processes,
        )
    engine.model.train(training)
    for rows, part in zip(columns, parts, strict=True):
        _require_finite(rows, part)
    _keep_within(root, settings.cache_gb, store, console)
    return Reference(
        train=columns[0],
        evaluation=columns[1] if len(columns) > 1 else None,
        hash=column_hash(row for rows in columns for answers in rows for row in answers),
        computed=computed,
        from_cache=len(everything) - computed,
        is_policy=reference is None,
    )


def _keep_within(root: Path, gigabytes: float, store: LogProbStore, console: Console) -> None:
    """Hold the cache to its bound, whatever this run needs left in it."""
    try:
        gone = collect(root, max_bytes=gigabytes * 2**30, keep=store.segments)
    except OSError:  # files of another user: a cache too large is no reason not to train
        console.say(f"the reference cache in {root} holds files that cannot be removed")
        return
    if gone.removed:
        console.say(
            f"reference cache: removed {len(gone.removed)} files used longest ago "
            f"({gone.freed / 2**30:.2f} GB), to stay within cache_gb {gigabytes:g}"
        )


def _require_computable(objective: Objective, loaded: Loaded) -> None:
    """Compute the objective once on the first rows as they are, their log-probs made up.

    Errors: BadComposition where a method fails on them, for example on a column they lack.
    """
    examples = loaded.examples[:_TRIED]
    rows = [tuple(np.full(len(a.ids), -1.0) for a in e.answers) for e in examples]
    signals = (log_prob, *(s for part in objective.parts for s in part.method.needs.signals))
    batch = stand_in(examples, rows, signals, torch.device("cpu"))
    try:
        objective_value(objective, batch, initial_states(objective))
    except CollimateError:
        raise
    except Exception as error:  # whatever the author of a method may have written wrong
        last = traceback.extract_tb(error.__traceback__)[-1]
        columns = ", ".join(examples[0].columns) or "none"
        raise BadComposition(
            f"'{objective.name}' fails on the rows of {loaded.facts.file} with {type(error).__name__}: "
            f"{error} ({last.filename}, line {last.lineno}: {last.line}); their columns of numbers "
            f"are: {columns}"
        ) from error


def _sizes(policy: nn.Module, longest: int, settings: TrainSettings) -> Mapping[str, int]:
    trained = policy
    if settings.lora_rank is not None:
        trained = add_lora(outline(policy), rank=settings.lora_rank, alpha=settings.lora_alpha)
    return run_sizes(
        trained,
        tokens=max(longest, settings.tokens_per_micro_batch),
        recompute=settings.activation_checkpointing,
    )


def _require_float32(model: nn.Module, settings: TrainSettings) -> None:
    low = {p.dtype for p in model.parameters() if p.requires_grad} & {torch.bfloat16, torch.float16}
    if low and settings.lora_rank is None:
        raise BadConfig(
            f"the model's trainable weights are {low.pop()}: AdamW steps at usual learning rates are "
            "smaller than its rounding, so training would silently stand still; pass model.float() "
            "and precision='bf16' (autocast over float32 weights), or train an adapter (lora_rank)"
        )


def _require_finite(rows: Rows, examples: Sequence[Example]) -> None:
    for answers, example in zip(rows, examples, strict=True):
        if not all(math.isfinite(float(row.sum())) for row in answers):
            raise BadData(
                f"row {example.row}: the reference model gives an answer a log-probability that is not "
                "finite; its weights hold NaN or infinity, or its precision is too low"
            )
