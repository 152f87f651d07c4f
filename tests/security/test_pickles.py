"""No pickle is ever loaded: not one with a payload, not an honest one, whatever names it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from collimate._checks import BadData, BadModel
from collimate.data import CharacterTokenizer, load_data
from collimate.engine.checkpoint import Progress, load_checkpoint, save_checkpoint
from collimate.engine.load import add_lora, load_model
from collimate.engine.store import LogProbStore
from collimate.engine.tokenizer import load_tokenizer
from collimate.optim import adamw
from tests.engine.tiny import cached_from_hub, model_of

pytestmark = pytest.mark.slow


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(autouse=True)
def _never_unpickled(mark: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fails a test in which torch.load was called, or a payload ran."""
    asked: list[object] = []

    def load(*given: object, **_: object) -> None:
        asked.append(given)
        raise OSError("a pickle was asked for")

    monkeypatch.setattr(torch, "load", load)
    yield
    assert asked == []
    assert not mark.exists()


def plant(path: Path, content: str, mark: Path) -> None:
    """A pickle: of weights that would fit, or with a payload."""
    if content == "weights":
        torch.save(model_of("llama").state_dict(), path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))


def test_the_payload_would_run(tmp_path: Path) -> None:
    """Else nothing here would show anything."""
    path = tmp_path / "bomb.bin"
    plant(path, "payload", tmp_path / "elsewhere")
    pickle.loads(path.read_bytes())
    assert (tmp_path / "elsewhere").exists()


CONTENTS = pytest.mark.parametrize("content", ["weights", "payload"])


@CONTENTS
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.pt", "model.pkl"])
def test_a_folder_of_pickles_is_refused(name: str, content: str, folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    plant(folder / name, content, mark)
    with pytest.raises(BadModel, match=r"cannot load a causal language model from .*safetensors"):
        load_model(folder)


@CONTENTS
def test_a_pickle_under_the_name_of_safetensors(content: str, folder: Path, mark: Path) -> None:
    plant(folder / "model.safetensors", content, mark)
    with pytest.raises(BadModel, match="cannot load a causal language model"):
        load_model(folder)


@CONTENTS
@pytest.mark.parametrize("name", ["pytorch_model.bin", "../other/model.safetensors", "a/b"])
def test_an_index_may_name_safetensors_of_its_folder_only(
    name: str, content: str, folder: Path, mark: Path
) -> None:
    """transformers reads whatever file the index names: a pickle is unpickled."""
    shutil.copytree(folder, folder.parent / "other")
    (folder / "model.safetensors").unlink()
    plant(folder / "pytorch_model.bin", content, mark)
    names = dict.fromkeys(model_of("llama").state_dict(), name)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadModel, match=rf"names '{name}' as weights: .*in the folder itself"):
        load_model(folder)


def test_an_honest_index_is_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    names = dict.fromkeys(model_of("llama").state_dict(), "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_model(folder).config.model_type == "llama"


@CONTENTS
def test_a_config_may_not_name_a_pickle(content: str, folder: Path, mark: Path) -> None:
    plant(folder / "adapter_model.bin", content, mark)
    config = json.loads((folder / "config.json").read_text())
    config["transformers_weights"] = "adapter_model.bin"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel, match=r"names 'adapter_model.bin' as weights"):
        load_model(folder)


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    add_lora(load_model(folder), rank=2).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@CONTENTS
def test_an_adapter_of_pickles_is_refused(content: str, adapter: Path, mark: Path) -> None:
    plant(adapter / "adapter_model.bin", content, mark)
    load_model(adapter)  # beside the safetensors it is not looked at
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(BadModel, match=r"no adapter_model.safetensors"):
        load_model(adapter)


def test_an_adapter_of_the_hub_is_refused(
    adapter: Path, folder: Path, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would load it by itself, from a pickle where there is nothing else."""
    cached = cached_from_hub(folder, tmp_path / "hub", monkeypatch)
    assert load_model("hub:owner/name").config.model_type == "llama"
    shutil.copy(adapter / "adapter_config.json", cached)
    plant(cached / "adapter_model.bin", "payload", mark)
    with pytest.raises(BadModel, match="'hub:owner/name' is an adapter: download it"):
        load_model("hub:owner/name")


@pytest.mark.parametrize("name", ["tokenizer.pkl", "vocab.pkl", "tokenizer.bin"])
def test_pickles_beside_a_tokenizer_are_not_looked_at(name: str, folder: Path, mark: Path) -> None:
    plant(folder / name, "payload", mark)
    assert load_tokenizer(None, folder).eos_token_id == 2
    for path in folder.glob("token*.json"):
        path.unlink()
    with pytest.raises(BadModel, match="cannot load a tokenizer"):
        load_tokenizer(None, folder)


def test_pickles_in_a_checkpoint_are_not_looked_at(tmp_path: Path, mark: Path) -> None:
    model = model_of("llama")
    optimizer = adamw(model, learning_rate=1e-3)
    progress = Progress(step=1, states=({},), metrics_bytes=0, identity="mine")
    save_checkpoint(tmp_path, model, optimizer, progress, keep=1)
    path = tmp_path / "step-00000001"
    for name in ("optimizer.pt", "rng_state.pth", "scheduler.bin", "random_states_0.pkl"):
        plant(path / name, "payload", mark)
    assert load_checkpoint(path, model, optimizer, identity="mine") == progress


def test_pickles_in_the_cache_are_not_looked_at(tmp_path: Path, mark: Path) -> None:
    place = tmp_path / "log_probs" / "model"
    place.mkdir(parents=True)
    plant(place / "segment.pkl", "payload", mark)
    plant(place / "00000000000000000001-w-abc.safetensors", "payload", mark)
    assert len(LogProbStore(tmp_path, "model")) == 0


@pytest.mark.parametrize("name", ["rows.pkl", "rows.pt", "rows.npy", "rows.jsonl", "rows.parquet"])
def test_pickled_data_are_refused(name: str, tmp_path: Path, mark: Path) -> None:
    plant(tmp_path / name, "payload", mark)
    with pytest.raises(BadData):
        load_data(tmp_path / name, CharacterTokenizer())
