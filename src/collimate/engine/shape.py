"""A model's shape from its config alone: parameters are counted, weights never read."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from collimate._checks import BadModel
from collimate.engine.load import _LOAD_ERRORS, _first_line, _place
from collimate.engine.model import causal_model


def empty_model(model: str | Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model of a folder or `hub:owner/name` on the meta device: every shape, no weight.

    For an adapter folder, its base model. Errors: BadModel if there is no config, or it is broken
    or of no causal language model.
    """
    place = _place(model)
    if place.local and (Path(place.name) / "adapter_config.json").exists():
        return empty_model(_base_of(Path(place.name)), trust_remote_code=trust_remote_code)
    try:
        config = AutoConfig.from_pretrained(
            place.name, local_files_only=place.local, trust_remote_code=trust_remote_code
        )
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, trust_remote_code=trust_remote_code
            )
    except _LOAD_ERRORS as error:  # whatever transformers raises on a folder that holds no model
        raise BadModel(
            f"cannot read the config of a causal language model in '{model}': {_first_line(error)}"
        ) from error
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


def _base_of(folder: Path) -> str:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return str(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(
            f"{folder / 'adapter_config.json'} does not name a base model "
            f"(base_model_name_or_path): {_first_line(error)}; export the adapter again"
        ) from error
