"""Models and tokenizers: from a folder, `hub:owner/name`, or an object as it is."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from collimate._checks import BadConfig, BadModel, BadRun
from collimate.engine.model import causal_model

Tokenizer = PreTrainedTokenizerBase
"""Any transformers tokenizer."""

_HUB = "hub:"
_LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    TypeError,
    SafetensorError,
)


def load_model(model: str | Path | nn.Module, *, trust_remote_code: bool = False) -> nn.Module:
    """A causal language model in float32: from a folder, `hub:owner/name`, or an object as it is.

    Weights are read from safetensors only, never from pickles, and remote code runs only on
    request.

    Errors: BadModel if it cannot be found or loaded.
    """
    if isinstance(model, nn.Module):
        causal_model(model)
        return model
    place = _place(model)
    try:
        if place.local and (Path(place.name) / "adapter_config.json").exists():
            return _load_adapter(Path(place.name), trust_remote_code=trust_remote_code)
        return AutoModelForCausalLM.from_pretrained(
            place.name,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=place.local,
            trust_remote_code=trust_remote_code,
        )
    except _LOAD_ERRORS as error:  # whatever transformers raises on a folder that holds no model
        raise BadModel(
            f"cannot load a causal language model from '{model}': {_first_line(error)}"
        ) from error


def _load_adapter(folder: Path, *, trust_remote_code: bool) -> nn.Module:
    if not (folder / "adapter_model.safetensors").exists():  # peft would unpickle a .bin instead
        raise BadModel(
            f"the adapter folder '{folder}' has no adapter_model.safetensors: weights are read from "
            "safetensors only; save the adapter again with a current peft"
        )
    config = LoraConfig.from_pretrained(str(folder))
    if not config.base_model_name_or_path:
        raise BadModel(
            f"the adapter in '{folder}' does not say which model it belongs to: write that model's "
            "folder as base_model_name_or_path into its adapter_config.json"
        )
    base = load_model(config.base_model_name_or_path, trust_remote_code=trust_remote_code)
    with _quiet_peft():
        return PeftModel.from_pretrained(base, str(folder), is_trainable=True, use_safetensors=True)


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """peft reads a name that transformers has deprecated: nothing its user can mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def load_tokenizer(
    tokenizer: str | Path | Tokenizer | None,
    model: str | Path | nn.Module,
    *,
    trust_remote_code: bool = False,
) -> Tokenizer:
    """The tokenizer given, or the one beside the model.

    Errors: BadModel if there is none, or it cannot be loaded.
    """
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    source = tokenizer
    if source is None:
        source = (
            model if not isinstance(model, nn.Module) else causal_model(model).config._name_or_path
        )
    if not source:
        raise BadModel("a model given as an object needs its tokenizer too: pass tokenizer=...")
    place = _place(source)
    try:
        return AutoTokenizer.from_pretrained(
            place.name, local_files_only=place.local, trust_remote_code=trust_remote_code
        )
    except _LOAD_ERRORS as error:
        raise BadModel(
            f"cannot load a tokenizer from '{source}': {_first_line(error)}; give one with --tokenizer "
            "(tokenizer=...)"
        ) from error


def save_model(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    """A plain transformers folder (or an adapter folder), in one move.

    Errors: BadRun if the disk is full or the folder not writable.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    # peft would ask the hub whether the base's vocabulary was resized.
    options: dict[str, Any] = {}
    if isinstance(model, PeftModel):
        options["save_embedding_layers"] = False
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(str(partial), **options)
        tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise BadRun(f"cannot write the model to {folder}: {error.strerror or error}") from error


def quiet() -> None:
    """Transformers' own bars and warnings off: the job says what a user needs to know."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def add_lora(model: nn.Module, *, rank: int, alpha: int | None = None) -> nn.Module:
    """A LoRA adapter of the given rank on every linear layer but the head; only it is trained.

    alpha defaults to 2·rank. Source: hu:22. Errors: BadConfig for a rank below 1, or a model that
    already has an adapter.
    """
    if rank < 1:
        raise BadConfig(f"lora_rank must be at least 1, got {rank}")
    if isinstance(model, PeftModel):
        raise BadConfig(
            "the model already has an adapter: train that one (leave out lora_rank), or merge it "
            "first with `collimate export --merge`"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with _quiet_peft():
        return get_peft_model(model, config)


def end_ids(model: nn.Module, tokenizer: Tokenizer) -> frozenset[int]:
    """Every id that ends a sequence: the tokenizer's and all of the generation config's."""
    generation = getattr(causal_model(model), "generation_config", None)
    return _ids(getattr(generation, "eos_token_id", None)) | _ids(tokenizer.eos_token_id)


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where weights or a tokenizer come from; only `hub:owner/name` may reach the network."""

    name: str
    local: bool


def _place(source: str | Path) -> _Place:
    text = str(source)
    if text.startswith(_HUB):
        return _Place(text.removeprefix(_HUB), local=False)
    if not Path(text).is_dir():
        raise BadModel(
            f"there is no model folder '{text}': check the path; for a model on the hub write "
            f"{_HUB}owner/name"
        )
    return _Place(text, local=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
