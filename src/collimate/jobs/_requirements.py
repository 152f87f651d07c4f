"""What a run needs of its objective, its data and its models: else it is refused before it begins."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from collimate._checks import BadComposition, BadConfig, BadModel, CollimateError
from collimate._types import Example
from collimate.compose import Objective
from collimate.data import Loaded
from collimate.engine.model import LogProbModel, has_adapter
from collimate.engine.objective import initial_states, objective_value
from collimate.engine.quantize import is_quantized
from collimate.engine.step import stand_in
from collimate.jobs.settings import TrainSettings
from collimate.signals import log_prob

_TRIED = 512  # rows that an objective is computed on together before anything long begins


def require_computable(objective: Objective, loaded: Loaded) -> None:
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


def require_one_vocabulary(policy: LogProbModel, frozen: LogProbModel) -> None:
    """Errors: BadModel where the two answer over vocabularies of different sizes."""
    own, other = (len(model.readout().weight) for model in (policy, frozen))
    if own != other:
        raise BadModel(
            f"this method compares whole distributions, and the policy answers over {own} tokens, the "
            f"reference over {other}: give a reference with the policy's vocabulary"
        )


def require_movable(policy: nn.Module, settings: TrainSettings, *, processes: int) -> None:
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


def require_none_of_layers(engine: LogProbModel) -> None:
    """Errors: BadConfig where the method learns something beside the policy."""
    if list(engine.of_layers.parameters()):
        raise BadConfig(
            f"what this method learns beside the policy ({', '.join(engine.of_layers)}) is not sharded: "
            "use --parallel ddp"
        )


def require_same_weights(policy: nn.Module, reference: nn.Module) -> None:
    """Errors: BadModel where the reference has other weights than the policy."""
    kinds = [{n: (p.shape, p.dtype) for n, p in m.named_parameters()} for m in (policy, reference)]
    if kinds[0] != kinds[1]:
        raise BadModel(
            "a reference that follows the policy (tr_dpo) must be of its architecture and dtype: give "
            "another reference, or none, and the policy as passed is taken"
        )


def require_lora(settings: TrainSettings) -> None:
    """Errors: BadConfig where the settings bring no adapter for a quantised model."""
    if settings.lora_rank is None:
        raise BadConfig(
            "a quantised model cannot be trained itself, only an adapter over it: give lora_rank "
            "(--lora-rank 8)"
        )


def require_float32(model: nn.Module, settings: TrainSettings) -> None:
    """Errors: BadConfig for trainable weights too coarse to be stepped, unless an adapter is."""
    low = {p.dtype for p in model.parameters() if p.requires_grad} & {torch.bfloat16, torch.float16}
    if low and settings.lora_rank is None:
        raise BadConfig(
            f"the model's trainable weights are {low.pop()}: AdamW steps at usual learning rates are "
            "smaller than its rounding, so training would silently stand still; pass model.float() "
            "and precision='bf16' (autocast over float32 weights), or train an adapter (lora_rank)"
        )
