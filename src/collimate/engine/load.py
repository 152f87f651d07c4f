"""Models: from a folder, `hub:owner/name`, or an object as it is; and back into a folder."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from collimate._checks import BadConfig, BadModel, BadRun
from collimate.engine.model import causal_model, has_adapter
from collimate.engine.place import Place, file_of, place_of
from collimate.engine.quantize import (
    Quantization,
    is_quantized,
    prepare_import,
    require_exact,
)
from collimate.engine.untrusted import (
    explaining_load,
    first_line,
    load_config,
    require_all_weights,
    require_safetensors,
)

AnyModel = str | Path | nn.Module
"""A folder, `hub:owner/name`, or the model itself."""

Tokenizer = PreTrainedTokenizerBase
"""Any transformers tokenizer."""


def load_model(
    model: str | Path | nn.Module,
    *,
    trust_remote_code: bool = False,
    quantization: Quantization | None = None,
) -> nn.Module:
    """A causal language model in float32: from a folder, `hub:owner/name`, or an object as it is.

    Weights are read from safetensors only, never from pickles, and remote code runs only on
    request. quantization: of the linear layers of the (base) model, none by default.

    Errors: BadModel if it cannot be found, loaded or computed with; BadConfig for a model that
    cannot be quantised because it is an object, or is quantised already.
    """
    if isinstance(model, nn.Module):
        causal_model(model)
        if quantization is not None:
            raise BadConfig(
                "a model given as an object is taken as it is: leave out quantize and load it with "
                "transformers' BitsAndBytesConfig, or give its folder"
            )
        loaded = model
    else:
        loaded = _load(place_of(model), trust_remote_code, quantization)
    if is_quantized(loaded):
        require_exact(loaded)
    return loaded


def _load(place: Place, trust_remote_code: bool, quantization: Quantization | None) -> nn.Module:
    if is_adapter(place):
        return _load_adapter(Path(place.name), trust_remote_code, quantization)
    with explaining_load("cannot load a causal language model from", place):
        if not place.local and file_of(place, "adapter_config.json") is not None:
            raise BadModel(
                f"'{place}' is an adapter: download it and give its folder, so that its files are checked"
            )
        config = load_config(place, trust_remote_code=trust_remote_code)
        require_safetensors(place, config)
        if quantization is not None and getattr(config, "quantization_config", None) is not None:
            raise BadConfig(f"the weights in '{place}' are quantised already: leave out quantize")
        prepare_import(config)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            place.name,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=place.local,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **({} if quantization is None else quantization.arguments()),
        )
        model, found = loaded
        require_all_weights(model, found, place)
        if quantization is not None:
            release_file(model.parameters())  # what was not quantised keeps the whole file mapped
        return model


def release_file(parameters: Iterable[nn.Parameter]) -> None:
    """Copy weights on a CPU out of the file that they are mapped from.

    A mapped page that is written to is copied by the system first: the first step of an optimiser
    would take five times as long as this (1.05 s against 0.2 s for 0.3 GB).
    """
    for parameter in parameters:
        if parameter.device.type == "cpu" and parameter.is_floating_point():
            parameter.data = parameter.data.clone()


def is_adapter(place: Place) -> bool:
    """Whether it is the folder of an adapter."""
    return place.local and (Path(place.name) / "adapter_config.json").exists()


def _load_adapter(
    folder: Path, trust_remote_code: bool, quantization: Quantization | None
) -> nn.Module:
    if not (folder / "adapter_model.safetensors").exists():  # peft would unpickle a .bin instead
        raise BadModel(
            f"the adapter folder '{folder}' has no adapter_model.safetensors: weights are read from "
            "safetensors only; save the adapter again with a current peft"
        )
    from collimate.engine.adapters import PeftModel  # late: most runs do not need it

    base = _load(base_of(folder), trust_remote_code, quantization)
    prepare_import()
    place = Place(str(folder), local=True)
    with explaining_load("cannot load the adapter in", place), _quiet_peft():
        return PeftModel.from_pretrained(base, str(folder), is_trainable=True, use_safetensors=True)


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """peft reads a name that transformers has deprecated: nothing its user can mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def save_model(
    model: Any, tokenizer: Tokenizer, folder: Path, *, state: Mapping[str, Tensor] | None = None
) -> None:
    """A plain transformers folder (or an adapter folder), in one move.

    state: the tensors to save in place of the model's own, which are sharded.
    Errors: BadRun if the disk is full or the folder not writable.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    # peft would ask the hub whether the base's vocabulary was resized.
    options: dict[str, Any] = {}
    if has_adapter(model):
        options["save_embedding_layers"] = False
    if state is not None:
        options["state_dict"] = dict(state)
    shutil.rmtree(partial, ignore_errors=True)
    with _explaining_save("the model", folder, partial):
        model.save_pretrained(str(partial), **options)
        tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Save it as a folder, which is complete or absent; one that is there stays. Errors: BadRun."""
    if folder.exists():
        return
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with _explaining_save("the tokenizer", folder, partial):
        tokenizer.save_pretrained(partial)
        partial.rename(folder)


@contextmanager
def _explaining_save(what: str, folder: Path, partial: Path) -> Iterator[None]:
    """Whatever a library raises on a full disk becomes a BadRun, and nothing is left behind."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        # A full disk is an OSError, safetensors' own, or a bare Exception from Rust's tokenizers.
        if not isinstance(error, OSError | SafetensorError) and type(error) is not Exception:
            raise
        reason = getattr(error, "strerror", None) or error
        raise BadRun(
            f"cannot write {what} to {folder}: {reason}; free some space and run it again (a run goes "
            "on with --resume)"
        ) from error


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
    require_no_adapter(model)
    from collimate.engine.adapters import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    prepare_import()
    with _quiet_peft():
        return get_peft_model(model, config)


def require_no_adapter(model: nn.Module) -> None:
    """Errors: BadConfig if the model has one."""
    if has_adapter(model):
        raise BadConfig(
            "the model already has an adapter: train that one (leave out lora_rank), or merge it "
            "first with `collimate export --merge`"
        )


def name_of(thing: object) -> str:
    """What a person knows an argument by: its path or hub name, where an object came from, its type."""
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, nn.Module):
        return causal_model(thing).config._name_or_path or type(thing).__name__
    return type(thing).__name__


def end_ids(model: nn.Module, tokenizer: Tokenizer) -> frozenset[int]:
    """Every id that ends a sequence: the tokenizer's and all of the generation config's."""
    return generation_end_ids(model) | _ids(tokenizer.eos_token_id)


def generation_end_ids(model: nn.Module) -> frozenset[int]:
    """Every id that ends a sequence by the model's generation config."""
    generation = getattr(causal_model(model), "generation_config", None)
    return _ids(getattr(generation, "eos_token_id", None))


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)


def base_of(adapter: Path) -> Place:
    """The folder of the base model of an adapter folder, maybe one in the hub's local cache.

    Errors: BadModel if the adapter does not say, or the base is not there or no whole model.
    """
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        name = str(config["base_model_name_or_path"] or "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(
            f"{adapter / 'adapter_config.json'} cannot be read: {first_line(error)}; export the "
            "adapter again"
        ) from error
    if not name:
        raise BadModel(
            f"the adapter in '{adapter}' does not say which model it belongs to: write that model's "
            "folder as base_model_name_or_path into its adapter_config.json"
        )
    if not Path(name).is_dir():
        # Of the hub only what is in its local cache: a name in a file is no request to download.
        config_path = file_of(Place(name, local=True), "config.json")
        if config_path is None:
            raise BadModel(
                f"the adapter in '{adapter}' belongs to the model '{name}', which is not there: put it "
                "back, or write its new place as base_model_name_or_path into adapter_config.json"
            )
        name = str(config_path.parent)
    if (Path(name) / "adapter_config.json").exists():
        raise BadModel(
            f"the adapter in '{adapter}' names '{name}' as its base model, which is an adapter itself: "
            "merge that one first with `collimate export --merge`"
        )
    return Place(name, local=True)
