"""Everything a run needs before its first step: data, model, layout, reference. Nothing is written."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from collimate._checks import BadComposition, BadConfig, BadModel, CollimateError
from collimate._types import Example
from collimate.axes import Needs
from collimate.compose import Objective
from collimate.data import Kind, Loaded
from collimate.engine.budget import tokens_within
from collimate.engine.check import LayoutCheck, check_layout
from collimate.engine.fingerprint import model_fingerprint
from collimate.engine.kernels import choose_kernels
from collimate.engine.load import (
    AnyModel,
    Tokenizer,
    add_lora,
    is_adapter,
    load_model,
    load_tokenizer,
    release_file,
    require_no_adapter,
)
from collimate.engine.model import LogProbModel, causal_model, has_adapter
from collimate.engine.objective import (
    couples_batch,
    initial_states,
    needs_of,
    needs_reference,
    objective_value,
    reads_reference_logits,
    reference_update_of,
)
from collimate.engine.place import place_of
from collimate.engine.processes import Processes
from collimate.engine.quantize import Quantization, compute_dtype, is_quantized
from collimate.engine.runtime import Runtime, seeded
from collimate.engine.shape import outline
from collimate.engine.sharding import shard
from collimate.engine.sizes import run_sizes, weight_bytes
from collimate.engine.step import stand_in
from collimate.engine.trial import Name, Trial, kernels_of, sentence
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples
from collimate.jobs._phases import Phases
from collimate.jobs.reference import (
    Frozen,
    Reference,
    frozen_reference,
    moving_reference,
    reference_columns,
)
from collimate.jobs.settings import TrainSettings
from collimate.optim import require_adamw_8bit
from collimate.signals import log_prob

_KINDS: Mapping[str, Kind] = {
    "pairs": "preference",
    "tokens": "preference",
    "batch": "preference",
    "thumbs": "thumbs",
    "lists": "lists",
}
"""What data are read as, by the view that the method reads."""

_TRIED = 512  # rows that an objective is computed on together before anything long begins


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
    trials: Mapping[Name, Trial]  # of the kernels for GPUs, on one
    fingerprint: str
    reference: Reference | None
    frozen: LogProbModel | None  # the reference as a model, where its logits are compared with
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
    trials: Mapping[Name, Trial] | None,
    console: Console,
    phases: Phases,
) -> Prepared:
    """Load and check in the order that fails cheapest first.

    budget: tokens per micro-batch of the run that goes on, None for a new one. trials: of kernels,
    likewise. Errors: any `CollimateError`.
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
    phases.device = runtime.device
    console.enabled = console.enabled and runtime.processes.is_main
    if settings.dropout and runtime.processes.count > 1:
        raise BadConfig("several processes would drop the same units: leave out dropout")
    quantization = Quantization.of(
        settings.quantize, precision=settings.precision, device=runtime.device
    )
    if quantization is not None:
        if not isinstance(model, nn.Module) and not is_adapter(place_of(model)):
            require_lora(settings)
        quantization.require_runs()
    if settings.optimizer == "adamw_8bit":
        require_adamw_8bit(runtime.device.type)
    with phases.phase("load"):
        tokens = load_tokenizer(tokenizer, model, trust_remote_code=settings.trust_remote_code)
        policy = load_model(
            model, trust_remote_code=settings.trust_remote_code, quantization=quantization
        )
        _require_float32(policy, settings)
        if is_quantized(policy) and not has_adapter(policy):
            require_lora(settings)
        if is_quantized(policy) and settings.parallel == "fsdp2":
            raise BadConfig(
                "parallel fsdp2 shards tensors by rows, which those of a quantised model do not have: "
                "use ddp, or leave it out"
            )
        if settings.lora_rank is not None:
            require_no_adapter(policy)
        policy.to(runtime.device)
        if settings.lora_rank is None and not isinstance(model, nn.Module):
            release_file(p for p in policy.parameters() if p.requires_grad)
        policy.train(settings.dropout)
        recompute = settings.activation_checkpointing
        if causal_model(policy).is_activation_checkpointing:  # ours knows of shared prompts
            causal_model(policy).activation_checkpointing_disable()
            recompute = True
    with phases.phase("tokenise"):
        needs = needs_of(objective)
        loaded = _load(data, tokens, policy, needs, settings, console, "reading")
        held_out = (
            None
            if evaluation is None
            else _load(
                evaluation,
                tokens,
                policy,
                needs,
                replace(settings, limit=None),
                console,
                "held out",
            )
        )
    sets = [part for part in (loaded, held_out) if part is not None]
    for part in sets:
        _require_computable(objective, part)
    longest = max(example.tokens for part in sets for example in part.examples)
    sizes = _sizes(policy, longest, settings, recompute=recompute)
    keeps = reads_reference_logits(objective) or reference_update_of(objective) is not None
    if keeps and settings.lora_rank is None:  # under LoRA its weights are the policy's own
        sizes = {**sizes, "reference": weight_bytes(policy)}
    gigabytes = " + ".join(f"{name} {size / 2**30:.2f}" for name, size in sizes.items())
    console.say(f"memory to expect, in GB: {gigabytes}")
    with phases.phase("check"):
        # Under LoRA the gradients of matrices would cost what LoRA is there to save.
        check = check_layout(
            policy,
            longest=longest,
            gradients="all" if settings.lora_rank is None else "vectors",
            processes=runtime.processes,
        )
        console.say(
            f"layout: {'shared prompts' if check.shared else 'plain rows'} ({check.reason})"
        )
        engine = LogProbModel(policy, shared=check.shared, recompute=recompute)
        if trials is None:
            trials = choose_kernels(
                engine,
                longest=longest,
                tokens=settings.tokens_per_micro_batch,
                autocast=runtime.autocast,
                gradients="all" if settings.lora_rank is None else "vectors",
                processes=runtime.processes,
            )
        for name, trial in trials.items():
            console.say(sentence(name, trial))
        kernels = engine.kernels = kernels_of(trials)
        fingerprint = model_fingerprint(
            policy, layout=check.layout + kernels.suffix, precision=settings.precision
        )
    if budget is None:
        budget = settings.tokens_per_micro_batch
        if settings.memory_budget is not None:
            with _as_trained(policy, settings) as trained:
                budget = tokens_within(
                    settings.memory_budget,
                    LogProbModel(
                        trained, shared=check.shared, recompute=recompute, kernels=kernels
                    ),
                    loaded.examples,
                    sizes,
                    autocast=runtime.autocast,
                    processes=runtime.processes,
                )
            console.say(f"{budget} tokens per micro-batch fit in {settings.memory_budget:g} GB")
    column, update = None, reference_update_of(objective)
    if update is not None:
        _require_movable(policy, settings, processes=runtime.processes.count)
    elif needs_reference(objective):
        with phases.phase("reference"):
            column = reference_columns(
                Frozen(given=model, engine=engine, fingerprint=fingerprint),
                reference,
                [part.examples for part in sets],
                tokens,
                settings,
                budget,
                runtime,
                console,
            )
    frozen = None
    if update is not None or reads_reference_logits(objective):
        with phases.phase("reference"):
            frozen = frozen_reference(
                engine,
                reference,
                settings,
                tokenizer=tokens,
                examples=[example for part in sets for example in part.examples],
                runtime=runtime,
            )
            _require_one_vocabulary(engine, frozen)
            if update is not None:
                _require_same_weights(policy, frozen.model)
                column = moving_reference(frozen, is_policy=reference is None)
    if settings.lora_rank is not None:
        policy = add_lora(policy, rank=settings.lora_rank, alpha=settings.lora_alpha)
        policy.train(settings.dropout)
        engine = LogProbModel(policy, shared=check.shared, recompute=recompute, kernels=kernels)
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
        trials=trials,
        fingerprint=fingerprint,
        reference=column,
        frozen=frozen,
        sizes=sizes,
        budget=budget,
        exact=compute_dtype(policy) in (torch.float32, torch.float64),
    )


@contextmanager
def _as_trained(policy: nn.Module, settings: TrainSettings) -> Iterator[nn.Module]:
    """The policy with the adapter that it will be trained with, drawn for the moment."""
    if settings.lora_rank is None:
        yield policy
        return
    trainable = [(p, p.requires_grad) for p in policy.parameters()]
    with seeded(settings.seed):
        adapted: Any = add_lora(policy, rank=settings.lora_rank, alpha=settings.lora_alpha)
    try:
        yield adapted
    finally:  # the policy may be its owner's object
        adapted.unload()
        for parameter, was in trainable:
            parameter.requires_grad_(was)


def _load(
    source: Any,
    tokenizer: Tokenizer,
    model: nn.Module,
    needs: Needs,
    settings: TrainSettings,
    console: Console,
    what: str,
) -> Loaded:
    with console.bar(what, total=None) as bar:
        return load_examples(
            source,
            tokenizer,
            model,
            kind="triples" if needs.gold else _KINDS[needs.view],
            mismatched=needs.mismatched,
            **settings.of_data(),
            advance=bar.advance,
        )


def _require_computable(objective: Objective, loaded: Loaded) -> None:
    """Compute the objective once on every row as it is, their log-probs made up.

    Errors: BadComposition where a method fails on them, for example on a column they lack, with the
    row where one alone is to blame.
    """
    for start in range(0, len(loaded.examples), _TRIED):
        examples = loaded.examples[start : start + _TRIED]
        try:
            _compute(objective, examples, loaded)
        except BadComposition:
            for example in examples:
                try:
                    _compute(objective, [example], loaded)
                except BadComposition as error:
                    place = f"{loaded.facts.file}, row {example.row}"
                    raise BadComposition(f"{place}: {error}") from error
            raise


def _compute(objective: Objective, examples: Sequence[Example], loaded: Loaded) -> None:
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


def _require_one_vocabulary(policy: LogProbModel, frozen: LogProbModel) -> None:
    """Errors: BadModel where the two answer over vocabularies of different sizes."""
    own, other = (len(model.readout().weight) for model in (policy, frozen))
    if own != other:
        raise BadModel(
            f"this method compares whole distributions, and the policy answers over {own} tokens, the "
            f"reference over {other}: give a reference with the policy's vocabulary"
        )


def _require_movable(policy: nn.Module, settings: TrainSettings, *, processes: int) -> None:
    """Errors: BadConfig where the reference cannot follow the policy weight by weight."""
    if settings.lora_rank is not None or has_adapter(policy) or is_quantized(policy):
        raise BadConfig(
            "a reference that follows the policy (tr_dpo) needs all of its weights trained: leave out "
            "lora_rank and quantize, or use dpo"
        )
    if settings.parallel == "fsdp2" and processes > 1:
        raise BadConfig(
            "a reference that follows the policy (tr_dpo) is not sharded: use --parallel ddp"
        )


def _require_same_weights(policy: nn.Module, reference: nn.Module) -> None:
    """Errors: BadModel where the reference has other weights than the policy."""
    kinds = [{n: (p.shape, p.dtype) for n, p in m.named_parameters()} for m in (policy, reference)]
    if kinds[0] != kinds[1]:
        raise BadModel(
            "a reference that follows the policy (tr_dpo) must be of its architecture and dtype: give "
            "another reference, or none, and the policy as passed is taken"
        )


def _sizes(
    policy: nn.Module, longest: int, settings: TrainSettings, *, recompute: bool
) -> Mapping[str, int]:
    trained = policy
    if settings.lora_rank is not None:
        trained = add_lora(outline(policy), rank=settings.lora_rank, alpha=settings.lora_alpha)
    sizes = run_sizes(
        trained,
        tokens=max(longest, settings.tokens_per_micro_batch),
        recompute=recompute,
        optimizer=settings.optimizer,
    )
    if settings.lora_rank is None:
        return sizes
    # The outline is of plain layers, the policy perhaps of 4-bit ones; of an adapter each weight has
    # its gradient.
    return {**sizes, "weights": weight_bytes(policy) + sizes["gradients"]}


def require_lora(settings: TrainSettings) -> None:
    """Errors: BadConfig where the settings bring no adapter for a quantised model."""
    if settings.lora_rank is None:
        raise BadConfig(
            "a quantised model cannot be trained itself, only an adapter over it: give lora_rank "
            "(--lora-rank 8)"
        )


def _require_float32(model: nn.Module, settings: TrainSettings) -> None:
    low = {p.dtype for p in model.parameters() if p.requires_grad} & {torch.bfloat16, torch.float16}
    if low and settings.lora_rank is None:
        raise BadConfig(
            f"the model's trainable weights are {low.pop()}: AdamW steps at usual learning rates are "
            "smaller than its rounding, so training would silently stand still; pass model.float() "
            "and precision='bf16' (autocast over float32 weights), or train an adapter (lora_rank)"
        )
