"""Everything a run needs before its first step: data, model, layout, reference. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from collimate._checks import BadConfig
from collimate.axes import Needs, Signal
from collimate.compose import Objective
from collimate.data import Loaded
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
    release_file,
    require_no_adapter,
)
from collimate.engine.model import LogProbModel, causal_model, has_adapter
from collimate.engine.noise import without_noise
from collimate.engine.objective import (
    couples_batch,
    keeps_reference,
    needs_of,
    needs_reference,
    reference_update_of,
)
from collimate.engine.place import place_of
from collimate.engine.processes import Processes
from collimate.engine.quantize import Quantization, compute_dtype, is_quantized
from collimate.engine.runtime import Runtime, seeded
from collimate.engine.shape import outline
from collimate.engine.sharding import shard
from collimate.engine.sizes import run_sizes, weight_bytes
from collimate.engine.step import signals_of
from collimate.engine.tokenizer import load_tokenizer
from collimate.engine.trial import Name, Trial, kernels_of, kernels_on, sentence
from collimate.jobs._console import Console
from collimate.jobs._examples import load_examples
from collimate.jobs._kinds import kind_of
from collimate.jobs._phases import Phases
from collimate.jobs._requirements import (
    require_computable,
    require_float32,
    require_lora,
    require_movable,
    require_none_of_layers,
    require_one_vocabulary,
    require_same_weights,
)
from collimate.jobs.reference import (
    Frozen,
    Reference,
    frozen_reference,
    moving_reference,
    reference_columns,
)
from collimate.jobs.settings import TrainSettings
from collimate.optim import require_adamw_8bit


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

    @property
    def trained(self) -> nn.Module:
        """What steps change: the policy, and what its method learns beside it."""
        if not list(self.engine.of_layers.parameters()):
            return self.model
        return nn.ModuleDict({"policy": self.model, "of_layers": self.engine.of_layers})


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
        require_float32(policy, settings)
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
        require_computable(objective, part)
    longest = max(example.tokens for part in sets for example in part.examples)
    signals = signals_of(objective)
    sizes = _sizes(policy, longest, settings, recompute=recompute, signals=signals)
    keeps = keeps_reference(objective)
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
        if kernels_of(trials) not in kernels_on(runtime.device):
            trials = {}  # a record of another machine's: the run's identity tells
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
                    signals=signals,
                    processes=runtime.processes,
                )
            console.say(f"{budget} tokens per micro-batch fit in {settings.memory_budget:g} GB")
    column, update = None, reference_update_of(objective)
    if update is not None:
        require_movable(policy, settings, processes=runtime.processes.count)
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
    if keeps:
        with phases.phase("reference"):
            frozen = frozen_reference(
                engine,
                reference,
                settings,
                tokenizer=tokens,
                examples=[example for part in sets for example in part.examples],
                runtime=runtime,
            )
            require_one_vocabulary(engine, frozen)
            if update is not None:
                require_same_weights(policy, frozen.model)
                column = moving_reference(frozen, is_policy=reference is None)
    if settings.lora_rank is not None:
        policy = add_lora(policy, rank=settings.lora_rank, alpha=settings.lora_alpha)
        policy.train(settings.dropout)
        engine = LogProbModel(policy, shared=check.shared, recompute=recompute, kernels=kernels)
    if frozen is not None:
        with seeded(settings.seed):
            engine.read_layers(signals, frozen)
    if not any(p.requires_grad for p in policy.parameters()):
        raise BadConfig("no parameter of the model is trainable: unfreeze some, or give lora_rank")
    processes = runtime.processes
    if settings.parallel == "fsdp2" and processes.count > 1:
        require_none_of_layers(engine)
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
        loaded = load_examples(
            source,
            tokenizer,
            model,
            kind=kind_of(needs),
            mismatched=needs.mismatched,
            **settings.of_data(),
            advance=bar.advance,
        )
    if not needs.noise:
        return loaded
    return replace(loaded, examples=tuple(without_noise(loaded.examples)))


def _sizes(
    policy: nn.Module,
    longest: int,
    settings: TrainSettings,
    *,
    recompute: bool,
    signals: Sequence[Signal],
) -> Mapping[str, int]:
    trained = policy
    if settings.lora_rank is not None:
        trained = add_lora(outline(policy), rank=settings.lora_rank, alpha=settings.lora_alpha)
    sizes = run_sizes(
        trained,
        tokens=max(longest, settings.tokens_per_micro_batch),
        recompute=recompute,
        optimizer=settings.optimizer,
        signals=signals,
    )
    if settings.lora_rank is None:
        return sizes
    # The outline is of plain layers, the policy perhaps of 4-bit ones; of an adapter each weight has
    # its gradient.
    return {**sizes, "weights": weight_bytes(policy) + sizes["gradients"]}
