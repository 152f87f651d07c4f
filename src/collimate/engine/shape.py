"""A model's shape from its config alone: parameters are counted, weights never read."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from collimate.engine.load import base_of, is_adapter
from collimate.engine.model import causal_model
from collimate.engine.place import place_of
from collimate.engine.untrusted import explaining_load, load_config


def empty_model(model: str | Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model of a folder or `hub:owner/name` on the meta device: every shape, no weight.

    For an adapter folder, its base model. Errors: BadModel if there is no config, or it is broken
    or of no causal language model.
    """
    place = place_of(model)
    if is_adapter(place):
        place = base_of(Path(place.name))
    with explaining_load("cannot read the config of a causal language model in", place):
        config = load_config(place, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=trust_remote_code
            )
        # Many models have none: the config's own ids of the end are then in force.
        with suppress(OSError):
            empty.generation_config = GenerationConfig.from_pretrained(
                place.name, local_files_only=place.local
            )
    return empty


def outline(model: nn.Module) -> nn.Module:
    """The same causal language model, without adapters, on the meta device."""
    causal = causal_model(model)
    with torch.device("meta"):
        empty = type(causal)(deepcopy(causal.config))
    return cast(nn.Module, empty).to(causal.dtype)
