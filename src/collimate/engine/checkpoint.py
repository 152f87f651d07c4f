"""Checkpoints: safetensors and JSON, complete or absent, and enough to continue to the same bits.

safetensors does not notice a flipped bit, so `state.json` holds a hash of every file and of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from collimate._checks import BadRun
from collimate.axes import State
from collimate.engine.parts import Parts, write_parts
from collimate.engine.processes import ALONE, Processes

SCHEMA_VERSION = 2
READABLE = (1, 2)  # 1: without hashes and skipped steps, always of `FILES`
FILES = ("model.safetensors", "optimizer.safetensors", "random.safetensors")
_STATE = ("step", "states", "metrics_bytes", "identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands: steps done and skipped, method states, and what was on disk then.

    identity: hash of everything that must be the same to continue (config, data, reference).
    """

    step: int
    states: tuple[State, ...]
    metrics_bytes: int
    identity: str
    skipped: int = 0


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    keep: int,
    moving: nn.Module | None = None,
    processes: Processes = ALONE,
) -> None:
    """Write `step-…` in one move, then delete all but the `keep` newest.

    moving: a reference that moves, whose weights are kept too. Of sharded processes each writes its
    part, and all must call; else the main one writes everything.
    Errors: BadRun if the disk is full or the folder not writable; older checkpoints are left alone.
    """
    final = folder / f"step-{progress.step:08d}"
    partial = folder / f".{final.name}.partial"
    writes = processes.is_main or processes.sharded
    there = processes.is_main and final in checkpoints(folder)
    if not writes or (processes.any(there) if processes.sharded else there):
        return  # the run stops or ends at the step it resumed from: the same bits
    with _agreed(processes, folder, partial):
        if processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
    with _agreed(processes, folder, partial):
        write_parts(partial, "model", _trainable(model), processes)
        write_parts(partial, "optimizer", _optimizer_tensors(optimizer, model), processes)
    with _agreed(processes, folder, partial):
        if processes.is_main:
            write_parts(partial, "random", _random_state())
            if moving is not None:
                write_parts(partial, "reference", _weights(moving))
            files = sorted(path.name for path in partial.glob("*.safetensors"))
            state = {
                "schema_version": SCHEMA_VERSION,
                "step": progress.step,
                "states": [dict(state) for state in progress.states],
                "skipped_steps": progress.skipped,
                "metrics_bytes": progress.metrics_bytes,
                "identity": progress.identity,
                "files": {name: _hash_of_file(partial / name) for name in files},
            }
            sealed = {**state, "hash": _hash_of_state(state)}
            _write(partial / "state.json", json.dumps(sealed, indent=1).encode())
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
    if not processes.is_main:
        return
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _agreed(processes: Processes, folder: Path, partial: Path) -> Iterator[None]:
    """What fails in one sharded process is an error in all, before any waits for it."""
    error: Exception | None = None
    try:
        yield
    except (OSError, SafetensorError) as caught:  # safetensors' own is a full disk too
        error = caught
    failed = processes.any(error is not None) if processes.sharded else error is not None
    if failed:
        if processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise BadRun(
            f"cannot write a checkpoint to {folder}: {error or 'another process failed'}; free some "
            "space and continue with --resume"
        ) from error


def checkpoints(folder: Path) -> Sequence[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    identity: str,
    moving: nn.Module | None = None,
) -> Progress:
    """Put weights, optimiser and random state back, and say where the run stood.

    Errors: BadRun if a file is damaged, by name and with the checkpoint to go on from, or the
    checkpoint belongs to another configuration.
    """
    found = damage(path)
    if found is not None:
        raise BadRun(f"checkpoint {path} is damaged ({found}): {_way_out(path)}")
    state = json.loads((path / "state.json").read_bytes())
    if state["schema_version"] not in READABLE:
        raise BadRun(
            f"checkpoint {path} has schema_version {state['schema_version']!r}, this version reads "
            f"{' and '.join(map(str, READABLE))}: use the version of collimate that wrote it"
        )
    if state["identity"] != identity:
        raise BadRun(
            f"checkpoint {path} belongs to another run: its model, data, method, reference or "
            "settings differ from those given now; resume with the run's own, or start a new folder"
        )
    weights, random = Parts(path, "model"), Parts(path, "random")
    named = _trainable(model)
    if named.keys() != weights.names:
        raise BadRun(f"checkpoint {path} holds other parameters than this model trains")
    with torch.no_grad():
        for name, parameter in named.items():
            weights.copy_into(name, parameter)
        _restore_optimizer(optimizer, model, Parts(path, "optimizer"))
        if moving is not None:
            reference = Parts(path, "reference")
            for name, weight in _weights(moving).items():
                reference.copy_into(name, weight)
    torch.set_rng_state(random.whole("cpu"))
    if "cuda" in random.names and torch.cuda.is_available():
        torch.cuda.set_rng_state(random.whole("cuda"))
    return Progress(
        step=state["step"],
        states=tuple(state["states"]),
        metrics_bytes=state["metrics_bytes"],
        identity=identity,
        skipped=state.get("skipped_steps", 0),
    )


def damage(path: Path) -> str | None:
    """Which file of a checkpoint is not what was written, and how; None where all are.

    Of schema_version 1, which has no hashes, only what cannot be read is found.
    """
    try:
        state = json.loads((path / "state.json").read_bytes())
        version = state["schema_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"state.json cannot be read: {error}"
    if version not in READABLE:
        return None  # of a later version, not damaged
    if lost := [name for name in _STATE if name not in state]:
        return f"state.json lacks {', '.join(lost)}"
    if version > 1 and state.pop("hash", None) != _hash_of_state(state):
        return "state.json is not what was written"
    for name in state["files"] if version > 1 else FILES:
        try:
            with safe_open(path / name, framework="pt"):
                pass
            if version > 1 and state["files"][name] != _hash_of_file(path / name):
                return f"{name} is not what was written"
        except (OSError, SafetensorError) as error:
            return f"{name} cannot be read: {error}"
    return None


def _way_out(path: Path) -> str:
    older = [other for other in checkpoints(path.parent) if other.name < path.name]
    sound = next((other for other in reversed(older) if damage(other) is None), None)
    if sound is None:
        return (
            "delete that folder and --resume: none before it is sound, so the run begins again at its "
            "first step and comes to the same bits"
        )
    return (
        f"delete that folder and --resume from the one before, {sound.name}: it is sound, and the run "
        "comes to the same bits"
    )


def _hash_of_state(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() for n, p in model.named_parameters()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    names = {id(p): n for n, p in model.named_parameters()}
    tensors, shared = dict[str, Tensor](), set[int]()
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            tensor = torch.as_tensor(value)
            place = _place(tensor)
            # A table that parameters share is written for each: a file holds no tensor twice.
            tensors[f"{names[id(parameter)]}|{slot}"] = (
                tensor.clone() if place in shared else tensor
            )
            shared.add(place)
    return tensors


def _place(tensor: Tensor) -> int:
    return id(tensor) if isinstance(tensor, DTensor) else tensor.data_ptr()


def _restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, slots: Parts) -> None:
    parameters = dict(model.named_parameters())
    for key in sorted(slots.names):
        name, slot = key.rsplit("|", 1)
        parameter = parameters[name]
        optimizer.state[parameter][slot] = _slot(slots, key, parameter, fused=_fused(optimizer))


def _slot(slots: Parts, key: str, parameter: Tensor, *, fused: bool) -> Tensor | int:
    """As the optimiser had it: a moment of the parameter's shape, or numbers of a shape of their own."""
    if slots.is_scalar(key):
        value = slots.whole(key)
        if (
            not value.is_floating_point()
        ):  # torch counts its steps in floats, bitsandbytes in an int
            return int(value.item())
        return value.to(parameter.device) if fused else value
    shape, dtype = slots.kind(key)
    if shape == parameter.shape:
        value = torch.empty_like(parameter, dtype=dtype, requires_grad=False)
    else:
        value = torch.empty(shape, dtype=dtype, device=parameter.device)
    slots.copy_into(key, value)
    return value


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    return bool(optimizer.defaults.get("fused"))


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
