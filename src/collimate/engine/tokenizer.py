"""Tokenizers: given, or beside a model; and whether two of them mean the same by their ids."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import AutoTokenizer

from collimate._checks import BadModel
from collimate.engine.load import AnyModel, Tokenizer
from collimate.engine.model import causal_model
from collimate.engine.place import Place, file_of, place_of
from collimate.engine.untrusted import explaining_load, require_plain_names

_TOKENIZER_FILES = (
    "tokenizer_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)


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
    way_out = "; give one with --tokenizer (tokenizer=...)"
    return _read_tokenizer(place_of(source), way_out, trust_remote_code=trust_remote_code)


def _read_tokenizer(place: Place, way_out: str, *, trust_remote_code: bool) -> Tokenizer:
    with explaining_load("cannot load a tokenizer from", place, way_out):
        found = AutoTokenizer.from_pretrained(
            place.name, local_files_only=place.local, trust_remote_code=trust_remote_code
        )
    require_plain_names(found, place)
    return found


def other_tokens(
    tokenizer: Tokenizer, model: AnyModel, *, trust_remote_code: bool = False
) -> dict[int, tuple[str, str]]:
    """Ids that stand for another token in the tokenizer beside `model`: (here, there); often none.

    Vocabularies of one size may differ: every id is then readable, and every log-prob is noise.
    Without a tokenizer beside the model there is nothing to compare with. Errors: BadModel for one
    that cannot be loaded.
    """
    place = _place_of_files(model)
    if place is None or all(file_of(place, name) is None for name in _TOKENIZER_FILES):
        return {}
    way_out = "; mend it, or leave its files out, and nothing is compared"
    theirs = _read_tokenizer(place, way_out, trust_remote_code=trust_remote_code)
    ours = {number: token for token, number in tokenizer.get_vocab().items()}
    there = {number: token for token, number in theirs.get_vocab().items()}
    both = ours.keys() & there.keys()
    return {
        number: (ours[number], there[number]) for number in both if ours[number] != there[number]
    }


def _place_of_files(model: AnyModel) -> Place | None:
    """Where a model came from; None for an object whose files are not there."""
    if not isinstance(model, nn.Module):
        return place_of(model)
    folder = str(causal_model(model).config._name_or_path or "")
    return Place(folder, local=True) if folder and Path(folder).is_dir() else None
