"""Where models and tokenizers come from; tests/security has what they may not do."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from collimate._checks import BadConfig, BadModel, BadRun
from collimate.engine.load import add_lora, end_ids, load_model, release_file, save_model
from collimate.engine.model import causal_model
from collimate.engine.shape import empty_model
from collimate.engine.tokenizer import load_tokenizer
from tests.engine.tiny import cached_from_hub, model_of
from tests.equivalence.runs import saved, word_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


def test_a_folder_and_its_object(folder: Path) -> None:
    model = load_model(folder)
    assert load_model(model) is model
    assert load_model(str(folder)).config.model_type == "llama"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert load_tokenizer(None, folder).eos_token_id == 2
    assert load_tokenizer(None, model).eos_token_id == 2  # the object knows where it came from
    assert load_tokenizer(str(folder), model).eos_token_id == 2
    tokens = word_tokenizer()
    assert load_tokenizer(tokens, folder) is tokens


def test_released_weights_no_longer_look_into_their_file(folder: Path) -> None:
    model = load_model(folder)
    before = [p.detach().clone() for p in model.parameters()]
    release_file(model.parameters())
    file = folder / "model.safetensors"
    with file.open("r+b") as open_file:  # written over in place, as a copy of another model would
        open_file.seek(file.stat().st_size // 2)
        open_file.write(b"\x00" * (file.stat().st_size // 2))
    assert any((p == 0).all() for p in load_model(folder).parameters())
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_an_adapter_without_a_base_is_refused(tmp_path: Path) -> None:
    add_lora(model_of("llama"), rank=2).save_pretrained(tmp_path)  # an object came from nowhere
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="does not say which model it belongs to"):
        load_model(tmp_path)
    config["base_model_name_or_path"] = str(tmp_path / "gone")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match=r"belongs to the model .*gone', which is not there"):
        load_model(tmp_path)


def test_an_adapter_of_a_hub_model_finds_its_base_in_the_local_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """peft notes the base as owner/name: it was there when the adapter was trained."""
    cached_from_hub(folder, tmp_path / "hub", monkeypatch)
    adapter = tmp_path / "adapter"
    add_lora(load_model(folder), rank=2).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "owner/name"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    loaded = causal_model(load_model(adapter))
    assert loaded.config.model_type == "llama"
    assert empty_model(adapter).num_parameters() == load_model(folder).num_parameters()
    config["base_model_name_or_path"] = "owner/other"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match="belongs to the model 'owner/other', which is not there"):
        load_model(adapter)


@pytest.mark.parametrize("name", ["gpt2", "owner/name", "./nowhere", "/nowhere/at/all"])
def test_what_is_no_folder_is_not_looked_for_on_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(BadModel, match=rf"there is no model folder '{name}'.*hub:owner/name"):
        load_model(name)
    with pytest.raises(BadModel, match="there is no model folder"):
        load_tokenizer(name, "x")


def test_only_a_name_with_hub_reaches_for_the_hub() -> None:
    """Offline here, so that it fails, but as a missing model and not as a missing folder."""
    with pytest.raises(
        BadModel, match="cannot load a causal language model from 'hub:nobody/nothing'"
    ):
        load_model("hub:nobody/nothing")
    with pytest.raises(BadModel, match="cannot load a tokenizer from 'hub:nobody/nothing'"):
        load_tokenizer("hub:nobody/nothing", "x")


@pytest.mark.parametrize("damage", ["empty folder", "no weights", "torn weights", "torn config"])
def test_a_broken_folder_is_one_line(damage: str, folder: Path) -> None:
    if damage == "empty folder":
        for path in folder.iterdir():
            path.unlink()
    elif damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "torn weights":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:100])
    else:
        (folder / "config.json").write_text("{")
    with pytest.raises(BadModel, match="cannot load a causal language model") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(BadModel, match="got Linear"):
        load_model(nn.Linear(2, 2))


def test_a_missing_tokenizer_is_said(folder: Path) -> None:
    with pytest.raises(BadModel, match=r"pass tokenizer=\.\.\."):
        load_tokenizer(None, model_of("llama"))
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(BadModel, match=r"cannot load a tokenizer from .*--tokenizer"):
        load_tokenizer(None, folder)


def test_every_id_that_ends_a_sequence_counts() -> None:
    model, tokens = model_of("llama"), word_tokenizer()
    model.generation_config.eos_token_id = [2, 7]
    assert end_ids(model, tokens) == {2, 7}
    model.generation_config.eos_token_id = 9
    assert end_ids(model, tokens) == {2, 9}
    model.generation_config.eos_token_id = None
    assert end_ids(model, tokens) == {2}


class TestLora:
    def test_only_the_adapter_is_trained_and_it_begins_at_nothing(self) -> None:
        base = model_of("llama", factor=3.0)
        ids = torch.randint(3, 90, (1, 9))
        with torch.no_grad():
            before = base(input_ids=ids).logits
            model = add_lora(base, rank=3)
            assert torch.equal(model(input_ids=ids).logits, before)
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert trained
        assert all("lora_" in name for name in trained)
        assert not any("lm_head" in name for name in trained)
        assert causal_model(model) is base
        assert causal_model(base) is base
        assert model.peft_config["default"].lora_alpha == 6

    @pytest.mark.parametrize("rank", [0, -1])
    def test_what_is_refused(self, rank: int) -> None:
        with pytest.raises(BadConfig, match="lora_rank must be at least 1"):
            add_lora(model_of("llama"), rank=rank)
        with pytest.raises(BadConfig, match="already has an adapter"):
            add_lora(add_lora(model_of("llama"), rank=1), rank=1)


def test_a_model_that_cannot_be_written_leaves_the_old_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "model.safetensors").read_bytes()
    model, tokens = model_of("llama", seed=5), word_tokenizer()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tokens), "save_pretrained", fail)
    with pytest.raises(BadRun, match=r"cannot write the model .* No space left"):
        save_model(model, tokens, folder)
    assert (folder / "model.safetensors").read_bytes() == before
    monkeypatch.undo()
    save_model(model, tokens, folder)
    assert (folder / "model.safetensors").read_bytes() != before
    assert load_tokenizer(None, folder).eos_token_id == 2
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
