"""Checkpoints: complete or absent, enough to continue to the same bits, and never pickles."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from collimate._checks import BadRun
from collimate.engine import checkpoint
from collimate.engine.checkpoint import (
    FILES,
    Progress,
    checkpoints,
    damage,
    load_checkpoint,
    save_checkpoint,
)
from collimate.engine.load import add_lora
from collimate.optim import adamw
from tests.engine.tiny import model_of
from tests.equivalence.runs import contents


def progress(step: int, **named: Any) -> Progress:
    given = {"states": ({},), "metrics_bytes": 10 * step, "identity": "mine", **named}
    return Progress(step=step, **given)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    """Some steps on a loss with dropout, so that the random state matters too."""
    for _ in range(count):
        ids = torch.randint(3, 90, (2, 6))
        nn.functional.dropout(model(input_ids=ids).logits, 0.5).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def optimizer_of(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "adamw":
        return adamw(model, learning_rate=1e-2, weight_decay=0.1)
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=1e-2, momentum=0.9)


@pytest.mark.parametrize("kind", ["adamw", "momentum"])
@pytest.mark.parametrize("change", [None, "tied", "lora"])
def test_continues_to_the_same_bits(kind: str, change: str | None, tmp_path: Path) -> None:
    def fresh(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = model_of("llama_tied" if change == "tied" else "llama")
        torch.manual_seed(seed)
        model = add_lora(model, rank=2) if change == "lora" else model
        return model, optimizer_of(kind, model)

    model, optimizer = fresh(1)
    steps(model, optimizer, 3)
    save_checkpoint(tmp_path, model, optimizer, progress(3), keep=1)
    steps(model, optimizer, 3)

    other, second = fresh(2)
    loaded = load_checkpoint(tmp_path / "step-00000003", other, second, identity="mine")
    assert (loaded.step, loaded.metrics_bytes, loaded.identity) == (3, 30, "mine")
    steps(other, second, 3)
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), name
    if change == "tied":
        assert other.lm_head.weight is other.model.embed_tokens.weight


@pytest.mark.parametrize(
    "state", [{}, {"mean": 0.1 + 0.2, "count": 3.0}, {"tiny": 5e-324, "large": 1.7e308}]
)
def test_the_methods_states_come_back_to_the_bit(state: dict[str, float], tmp_path: Path) -> None:
    model = model_of("llama")
    sgd = optimizer_of("momentum", model)
    save_checkpoint(tmp_path, model, sgd, progress(1, states=(state, {"b": -1.0})), keep=1)
    loaded = load_checkpoint(tmp_path / "step-00000001", model, sgd, identity="mine")
    assert loaded.states == (state, {"b": -1.0})


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module, torch.optim.Optimizer]:
    model = model_of("llama")
    optimizer = optimizer_of("adamw", model)
    steps(model, optimizer, 1)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, model, optimizer, progress(step), keep=2)
    return tmp_path, model, optimizer


Saved = tuple[Path, nn.Module, torch.optim.Optimizer]


def test_the_newest_are_kept(saved: Saved) -> None:
    folder, *_ = saved
    assert [path.name for path in checkpoints(folder)] == ["step-00000002", "step-00000003"]
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]


def test_only_safetensors_and_json(saved: Saved) -> None:
    names = {path.name for path in (saved[0] / "step-00000003").iterdir()}
    assert names == {
        "model.safetensors",
        "optimizer.safetensors",
        "random.safetensors",
        "state.json",
    }
    state = json.loads((saved[0] / "step-00000003" / "state.json").read_text())
    assert state["schema_version"] == 2
    assert set(state["files"]) == set(FILES)


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@pytest.mark.parametrize("name", [*FILES, "state.json"])
@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "text", "flipped", "longer"])
def test_a_damaged_file_is_refused_by_name_and_changes_nothing(
    name: str, kind: str, saved: Saved
) -> None:
    folder, model, optimizer = saved
    path = folder / "step-00000003" / name
    data = path.read_bytes()
    damaged = {"empty": b"", "cut": data[:-9], "text": b"hello", "longer": data + b"0"}
    path.write_bytes(damaged[kind] if kind in damaged else flipped(data, 8 * len(data) - 90))
    if kind == "missing":
        path.unlink()
    before = [p.detach().clone() for p in model.parameters()]
    words = rf"step-00000003 is damaged \({name} .*delete that folder and --resume from .*00002"
    with pytest.raises(BadRun, match=words):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    load_checkpoint(folder / "step-00000002", model, optimizer, identity="mine")


def test_no_flipped_bit_goes_unnoticed(saved: Saved) -> None:
    """In any file of a checkpoint; a bit that is turned back is no damage."""
    checkpoint_path, draw = saved[0] / "step-00000003", random.Random(0)
    for path in sorted(checkpoint_path.iterdir()):
        data = path.read_bytes()
        for _ in range(40):
            path.write_bytes(flipped(data, draw.randrange(8 * len(data))))
            with pytest.raises(BadRun, match=r"is damaged|schema_version"):
                load_checkpoint(checkpoint_path, *saved[1:], identity="mine")
        path.write_bytes(data)
        assert damage(checkpoint_path) is None


def test_without_a_sound_one_before_it_says_so(saved: Saved) -> None:
    folder, model, optimizer = saved
    for name in ("step-00000002", "step-00000003"):
        (folder / name / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(BadRun, match=r"none before it is sound, so the run begins again"):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")


def as_version_1(checkpoint_path: Path) -> None:
    """What this version's predecessor wrote: no hashes, no skipped steps."""
    path = checkpoint_path / "state.json"
    state = json.loads(path.read_text())
    del state["files"], state["hash"], state["skipped_steps"]
    path.write_text(json.dumps({**state, "schema_version": 1}, indent=1))


def test_a_checkpoint_of_version_1_is_read(saved: Saved) -> None:
    folder, model, optimizer = saved
    as_version_1(folder / "step-00000003")
    loaded = load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")
    assert loaded == progress(3)
    path = folder / "step-00000003" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadRun, match=r"damaged \(optimizer.safetensors cannot be read"):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")


def test_skipped_steps_are_remembered(tmp_path: Path) -> None:
    model = model_of("llama")
    sgd = optimizer_of("momentum", model)
    save_checkpoint(tmp_path, model, sgd, progress(1, skipped=4), keep=1)
    loaded = load_checkpoint(tmp_path / "step-00000001", model, sgd, identity="mine")
    assert loaded.skipped == 4


def test_another_runs_checkpoint_is_refused_and_changes_nothing(saved: Saved) -> None:
    folder, model, optimizer = saved
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(BadRun, match=r"belongs to another run"):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="other")
    assert all((parameter == 0).all() for parameter in model.parameters())


def test_other_parameters_or_versions_are_refused(saved: Saved) -> None:
    folder, model, optimizer = saved
    model.lm_head.weight.requires_grad_(False)
    with pytest.raises(BadRun, match="holds other parameters"):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")
    path = folder / "step-00000003" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 7}))
    with pytest.raises(BadRun, match="schema_version 7"):
        load_checkpoint(folder / "step-00000003", model, optimizer, identity="mine")


def test_only_what_is_trained_is_saved(tmp_path: Path) -> None:
    model = add_lora(model_of("llama"), rank=2)
    optimizer = optimizer_of("adamw", model)
    save_checkpoint(tmp_path, model, optimizer, progress(1), keep=1)
    adapter = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    assert (tmp_path / "step-00000001" / "model.safetensors").stat().st_size < 2 * adapter + 9000


class TestWriting:
    """A checkpoint that could not be written leaves the older ones and no part of itself."""

    @pytest.mark.parametrize(
        ("writer", "error"),
        [
            ("write_parts", OSError(28, "No space left on device")),
            ("write_parts", SafetensorError("I/O error: No space left on device (os error 28)")),
            ("_write", OSError(28, "No space left on device")),
        ],
        ids=["weights", "weights by safetensors", "state"],
    )
    def test_a_full_disk(
        self, writer: str, error: Exception, saved: Saved, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, model, optimizer = saved
        before = contents(folder)

        def full(path: Path, *_: object) -> NoReturn:
            (path / "model.safetensors" if path.is_dir() else path).write_bytes(b"a part")
            raise error

        monkeypatch.setattr(checkpoint, writer, full)
        with pytest.raises(BadRun, match=r"cannot write a checkpoint to .*No space left.*--resume"):
            save_checkpoint(folder, model, optimizer, progress(4), keep=2)
        assert contents(folder) == before

    @pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit on file sizes")
    def test_a_disk_that_is_really_full(self, saved: Saved) -> None:
        """The kernel refuses to write beyond a limit; whatever the writer makes of it is caught."""
        folder, model, optimizer = saved
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            try:
                save_checkpoint(folder, model, optimizer, progress(4), keep=2)
            except BadRun as error:
                os._exit(7 if "cannot write a checkpoint" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert sorted(path.name for path in folder.iterdir()) == ["step-00000002", "step-00000003"]

    def test_a_part_left_by_a_kill_is_replaced(self, saved: Saved) -> None:
        folder, model, optimizer = saved
        partial = folder / ".step-00000004.partial"
        partial.mkdir()
        (partial / "rubbish").write_text("x")
        save_checkpoint(folder, model, optimizer, progress(4), keep=2)
        assert [path.name for path in checkpoints(folder)] == ["step-00000003", "step-00000004"]
        assert not partial.exists()
        assert not (folder / "step-00000004" / "rubbish").exists()

    def test_one_without_its_state_does_not_count(self, saved: Saved) -> None:
        folder, *_ = saved
        (folder / "step-00000009").mkdir()
        assert checkpoints(folder)[-1].name == "step-00000003"

    def test_saving_the_same_step_again_never_leaves_none(
        self, saved: Saved, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With keep=1 a kill between removing the old and naming the new would lose everything."""
        folder, model, optimizer = saved

        def refuse(*_: object, **__: object) -> NoReturn:
            raise AssertionError("killed here")

        monkeypatch.setattr(Path, "rename", refuse)
        save_checkpoint(folder, model, optimizer, progress(3), keep=1)
        assert "step-00000003" in [path.name for path in checkpoints(folder)]
