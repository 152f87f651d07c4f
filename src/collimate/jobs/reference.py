"""The reference's log-probs of every answer, through the cache: see docs/cache.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from torch import nn

from collimate._checks import BadData
from collimate._types import Example
from collimate.engine.cache import collect, default_cache
from collimate.engine.check import LAYOUTS, check_layout
from collimate.engine.evaluate import Rows, stored_log_probs
from collimate.engine.fingerprint import (
    column_hash,
    model_fingerprint,
    sequence_key,
    weights_hash,
)
from collimate.engine.kernels import choose_kernels
from collimate.engine.load import AnyModel, Tokenizer, load_model, name_of
from collimate.engine.model import Kernels, LogProbModel, causal_model
from collimate.engine.quantize import Quantization
from collimate.engine.readable import require_readable
from collimate.engine.runtime import Runtime
from collimate.engine.segment import segments_in
from collimate.engine.store import LogProbStore
from collimate.engine.tokenizer import other_tokens
from collimate.engine.trial import kernels_of, kernels_on
from collimate.jobs._console import Console
from collimate.jobs.settings import TrainSettings


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
class Frozen:
    """A model that may serve as reference: what `train` was given, its engine, its fingerprint."""

    given: AnyModel
    engine: LogProbModel
    fingerprint: str


def reference_columns(
    policy: Frozen,
    reference: AnyModel | None,
    parts: Sequence[Sequence[Example]],
    tokenizer: Tokenizer,
    settings: TrainSettings,
    budget: int,
    runtime: Runtime,
    console: Console,
) -> Reference:
    """Log-probs of the policy as passed, or of `reference`, for one or two data sets.

    tokenizer: the policy's. budget: tokens per micro-batch.
    Only what the cache lacks is computed; afterwards the cache is held to its bound.
    Errors: BadModel if the reference cannot be loaded or read the data; BadData for log-probs that
    are not finite; BadRun if the cache cannot be read, or has to be written and cannot be.
    """
    root = Path(settings.cache) if settings.cache is not None else default_cache()
    examples = [example for part in parts for example in part]
    keys = {sequence_key(example, answer) for example in examples for answer in example.answers}
    if reference is None:
        engine, store = policy.engine, store_for(root, policy, keys, settings)
    else:
        engine, store = _other(root, reference, tokenizer, examples, keys, settings, runtime)
    for path in store.torn:
        console.say(
            f"not read, and computed again: a damaged segment of the reference cache, {path}; "
            "`collimate cache verify --delete` removes it"
        )
    training = engine.model.training
    engine.model.eval()
    with console.bar("reference", total=len(examples)) as bar:
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
    if runtime.processes.is_main:
        _keep_within(root, settings.cache_gb, store, console)
    return Reference(
        train=columns[0],
        evaluation=columns[1] if len(columns) > 1 else None,
        hash=column_hash(row for rows in columns for answers in rows for row in answers),
        computed=computed,
        from_cache=len(examples) - computed,
        is_policy=reference is None,
    )


def _other(
    root: Path,
    reference: AnyModel,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    keys: AbstractSet[bytes],
    settings: TrainSettings,
    runtime: Runtime,
) -> tuple[LogProbModel, LogProbStore]:
    """A reference that is not the policy, and its store.

    Rows stand under a layout only if it had passed its check: where they are all there the check is
    left out, and the model computes nothing.
    """
    model = _loaded(reference, tokenizer, examples, settings, runtime)
    weights = weights_hash(model)
    found: dict[tuple[bool, Kernels], tuple[LogProbModel, LogProbStore]] = {}
    for shared, kernels in product(LAYOUTS, kernels_on(runtime.device)):
        engine = LogProbModel(model, shared=shared, kernels=kernels)
        fingerprint = model_fingerprint(
            model,
            layout=LAYOUTS[shared] + kernels.suffix,
            precision=settings.precision,
            weights=weights,
        )
        frozen = Frozen(given=reference, engine=engine, fingerprint=fingerprint)
        store = store_for(root, frozen, keys, settings)
        if not runtime.processes.any(len(store) < len(keys)):
            return engine, store
        found[shared, kernels] = engine, store
    longest = max(example.tokens for example in examples)
    check = check_layout(model, longest=longest, gradients="none", processes=runtime.processes)
    trials = choose_kernels(
        LogProbModel(model, shared=check.shared),
        longest=longest,
        tokens=settings.tokens_per_micro_batch,
        autocast=runtime.autocast,
        gradients="none",
        processes=runtime.processes,
    )
    return found[check.shared, kernels_of(trials)]


def moving_reference(frozen: LogProbModel, *, is_policy: bool) -> Reference:
    """What is known of a reference that moves with the policy: its weights at the start, no rows."""
    return Reference(
        train=[],
        evaluation=None,
        hash=weights_hash(frozen.model),
        computed=0,
        from_cache=0,
        is_policy=is_policy,
    )


def frozen_reference(
    policy: LogProbModel,
    reference: AnyModel | None,
    settings: TrainSettings,
    *,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    runtime: Runtime,
) -> LogProbModel:
    """The reference as a model that stays as it is, or moves with the policy.

    Of the policy as passed a copy is made, which shares whatever training leaves alone: under LoRA
    every weight; another model object is copied too. examples: that it is to read, and that its
    layout is checked for. Errors: BadModel where it cannot.
    """
    if reference is None:
        kept = {
            id(p): p
            for p in policy.model.parameters()
            if settings.lora_rank is not None or not p.requires_grad
        }
        copied = deepcopy(policy.model, kept).eval()
        for parameter in copied.parameters():
            if id(parameter) not in kept:
                parameter.requires_grad_(False)
        return LogProbModel(copied, shared=policy.shared, kernels=policy.kernels)
    model = _loaded(reference, tokenizer, examples, settings, runtime, copied=True)
    longest = max(example.tokens for example in examples)
    check = check_layout(model, longest=longest, gradients="none", processes=runtime.processes)
    return LogProbModel(model, shared=check.shared)


def _loaded(
    reference: AnyModel,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    settings: TrainSettings,
    runtime: Runtime,
    *,
    copied: bool = False,
) -> nn.Module:
    """The reference on the run's device, without dropout. copied: an object stays its owner's.

    Errors: BadModel where it cannot be loaded or read the examples.
    """
    trusted = settings.trust_remote_code
    quantization = _quantization(reference, settings, runtime)
    model = load_model(reference, trust_remote_code=trusted, quantization=quantization)
    require_readable(model, examples, other_tokens(tokenizer, reference, trust_remote_code=trusted))
    if copied and isinstance(reference, nn.Module):
        model = deepcopy(model)
    return model.to(runtime.device).eval()


def _quantization(
    reference: AnyModel, settings: TrainSettings, runtime: Runtime
) -> Quantization | None:
    """As the policy's: their rounding is not to be compared."""
    return Quantization.of(
        None if isinstance(reference, nn.Module) else settings.quantize,
        precision=settings.precision,
        device=runtime.device,
    )


def store_for(
    root: Path, frozen: Frozen, keys: AbstractSet[bytes], settings: TrainSettings
) -> LogProbStore:
    """The rows of a model in the cache `root`, those of `keys` in memory."""
    return LogProbStore(
        root, frozen.fingerprint, keys=keys, description=description_of(frozen, settings)
    )


def description_of(frozen: Frozen, settings: TrainSettings) -> dict[str, str]:
    """What a person knows a cached model by."""
    return {
        "model": name_of(frozen.given),
        "architecture": type(causal_model(frozen.engine.model)).__name__,
        "layout": LAYOUTS[frozen.engine.shared] + frozen.engine.kernels.suffix,
        "precision": settings.precision,
    }


def _keep_within(root: Path, gigabytes: float, store: LogProbStore, console: Console) -> None:
    """Hold the cache to its bound, whatever this run needs left in it."""
    try:
        keep = {*store.segments, *segments_in(store.folder)}  # other processes' segments too
        gone = collect(root, max_bytes=gigabytes * 2**30, keep=keep)
    except OSError:  # files of another user: a cache too large is no reason not to train
        console.say(f"the reference cache in {root} holds files that cannot be removed")
        return
    if gone.removed:
        console.say(
            f"reference cache: removed {len(gone.removed)} files used longest ago "
            f"({gone.freed / 2**30:.2f} GB), to stay within cache_gb {gigabytes:g}"
        )


def _require_finite(rows: Rows, examples: Sequence[Example]) -> None:
    for answers, example in zip(rows, examples, strict=True):
        if not all(math.isfinite(float(row.sum())) for row in answers):
            raise BadData(
                f"row {example.row}: the reference model gives an answer a log-probability that is not "
                "finite; its weights hold NaN or infinity, or its precision is too low"
            )
