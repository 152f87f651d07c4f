"""What the files of a model may not ask for, and what is damaged in them.

Neither pickles nor code are run, whatever a file names; what a library would make up, leave out or
write elsewhere is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase

from collimate._checks import BadModel, CollimateError
from collimate.engine.place import Place, file_of
from collimate.engine.runtime import is_out_of_memory

_INDEX = "model.safetensors.index.json"
_OWN_ATTENTION = (None, "eager", "sdpa", "flex_attention")


def load_config(place: Place, *, trust_remote_code: bool) -> PreTrainedConfig:
    """The config of a model, which may not name attention code on the hub to be fetched and run.

    Errors: BadModel for one that does; whatever transformers raises for one that cannot be read.
    """
    config = AutoConfig.from_pretrained(
        place.name, local_files_only=place.local, trust_remote_code=trust_remote_code
    )
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        code = getattr(part, "_attn_implementation", None)
        if code not in _OWN_ATTENTION and not trust_remote_code:
            raise BadModel(
                f"the config of '{place}' asks for the attention code '{code}', which may come from the "
                "hub, and code that comes with a model runs only on request: delete "
                "attn_implementation from its config.json, or pass --trust-remote-code "
                "(trust_remote_code=True)"
            )
    return config


def require_safetensors(place: Place, config: PreTrainedConfig) -> None:
    """An index or a config can name any file as weights, and transformers would unpickle it.

    Errors: BadModel for one that is no safetensors file of the folder itself.
    """
    named = getattr(config, "transformers_weights", None) or _INDEX
    names = [str(named)]
    if named.endswith(".index.json"):
        index = file_of(place, named)
        names = [] if index is None else list(json.loads(index.read_bytes())["weight_map"].values())
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise BadModel(
                f"'{place}' names '{name}' as weights: weights are read from safetensors files in the "
                "folder itself only; save the model again with a current transformers"
            )


def require_all_weights(model: nn.Module, found: Mapping[str, Any], place: Place) -> None:
    """What the file lacks transformers makes up at random; a block too many it leaves out.

    found: what it says of its loading. Errors: BadModel.
    """
    blocks = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    surplus = sorted(
        name for name in found["unexpected_keys"] if re.sub(r"\d+", "#", name) in blocks
    )
    for what, names in (("are too few", sorted(found["missing_keys"])), ("are too many", surplus)):
        if names:
            raise BadModel(
                f"the weights in '{place}' {what} for its config.json, such as {names[0]} ({len(names)} "
                "in all): one of the two files is damaged or of another model; copy them again"
            )


def require_plain_names(tokenizer: PreTrainedTokenizerBase, place: Place) -> None:
    """Each chat template is saved under its name: one with a path in it would land elsewhere.

    Errors: BadModel.
    """
    templates = tokenizer.chat_template
    for name in templates if isinstance(templates, dict) else ():
        if Path(name).name != name:
            raise BadModel(
                f"the tokenizer in '{place}' has a chat template called '{name}': expected a plain name; "
                "rename it in tokenizer_config.json"
            )


@contextmanager
def explaining_load(what: str, place: Place, way_out: str = "") -> Iterator[None]:
    """Whatever a library raises on a damaged folder becomes a BadModel that names the file.

    what: what could not be done. way_out: what else to do than to mend the file.
    """
    try:
        yield
    except CollimateError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        broken = _broken_file(Path(place.name)) if place.local else ""
        raise BadModel(f"{what} '{place}': {first_line(error)}{broken}{way_out}") from error


def _broken_file(folder: Path) -> str:
    """The first file of the folder that cannot be read, and what to do; nothing if all can."""
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
        except (OSError, ValueError, RecursionError, SafetensorError):
            return f"; {path.name} is damaged: copy or download it again"
    return ""


def first_line(error: BaseException) -> str:
    """What an error says first, or its type where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
