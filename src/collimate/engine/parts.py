"""Tensors in files, whole or in parts: written by any number of processes, read by any other.

A part is a run of rows (along the first dimension) of a tensor, as FSDP2 shards it. `NAME.safetensors`
holds whole tensors, `NAME-00000-of-00002.safetensors` the parts of one process with their first rows
in its metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from collimate._checks import BadRun
from collimate.engine.processes import ALONE, Processes


def write_parts(
    folder: Path, name: str, tensors: Mapping[str, Tensor], processes: Processes = ALONE
) -> None:
    """Write this process's parts; without sharding the main process writes everything."""
    if not processes.sharded:
        if processes.is_main:
            _write(folder / f"{name}.safetensors", tensors, {})
        return
    mine, starts = dict[str, Tensor](), dict[str, int]()
    for key, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            mine[key], starts[key] = tensor.to_local(), first_row(tensor)
        elif processes.is_main:  # what is not sharded is everywhere the same
            mine[key] = tensor
    _write(
        folder / f"{name}-{processes.rank:05d}-of-{processes.count:05d}.safetensors",
        mine,
        {"first_rows": json.dumps(starts)},
    )


class Parts:
    """The tensors of `NAME*.safetensors` in a folder, put together row by row where they are asked for.

    Errors: OSError, SafetensorError if a file cannot be read; BadRun if there is none, or one of
    several is missing.
    """

    def __init__(self, folder: Path, name: str) -> None:
        whole = folder / f"{name}.safetensors"
        paths = [whole] if whole.exists() else sorted(folder.glob(f"{name}-*-of-*.safetensors"))
        if not paths or (paths != [whole] and len(paths) != int(paths[0].stem.rsplit("-", 1)[-1])):
            raise BadRun(f"{folder} holds no complete {name}: files of it are missing")
        self._where: dict[str, list[tuple[Any, int]]] = {}
        for path in paths:
            file: Any = safetensors.safe_open(path, framework="pt")
            starts = json.loads((file.metadata() or {}).get("first_rows", "{}"))
            for key in file.keys():  # noqa: SIM118  # not a mapping
                self._where.setdefault(key, []).append((file, starts.get(key, 0)))

    @property
    def names(self) -> frozenset[str]:
        """Of the tensors."""
        return frozenset(self._where)

    def is_scalar(self, key: str) -> bool:
        """Whether a tensor has no rows to share out."""
        file, _ = self._where[key][0]
        return not file.get_slice(key).get_shape()

    def kind(self, key: str) -> tuple[torch.Size, torch.dtype]:
        """Shape of a tensor, all parts together, and its dtype."""
        slices = [file.get_slice(key) for file, _ in self._where[key]]
        rows, *others = zip(*(part.get_shape() for part in slices), strict=True)
        return torch.Size([sum(rows), *(lengths[0] for lengths in others)]), slices[0][:0].dtype

    def whole(self, key: str) -> Tensor:
        """A tensor that no process had sharded."""
        ((file, _),) = self._where[key]
        return file.get_tensor(key)

    def copy_into(self, key: str, destination: Tensor) -> None:
        """Fill a tensor, or this process's rows of a sharded one.

        Errors: BadRun if the stored tensor has another shape.
        """
        local, start = destination, 0
        if isinstance(destination, DTensor):
            local, start = destination.to_local(), first_row(destination)
        if destination.dim():
            stored = sum(file.get_slice(key).get_shape()[0] for file, _ in self._where[key])
            if stored != destination.shape[0]:
                raise BadRun(f"'{key}' is stored with {stored} rows, not {destination.shape[0]}")
        for file, at in self._where[key]:
            if not local.dim():
                local.copy_(file.get_tensor(key))
                return
            rows = file.get_slice(key)
            count, *others = rows.get_shape()
            if others != list(local.shape[1:]):
                raise BadRun(
                    f"'{key}' is stored with rows of shape {others}, not {local.shape[1:]}"
                )
            low, high = max(start, at), min(start + len(local), at + count)
            if low < high:
                local[low - start : high - start].copy_(rows[low - at : high - at])


def first_row(tensor: DTensor) -> int:
    """Where this process's rows of a sharded tensor begin: equal runs, the last ones shorter."""
    size, rank = tensor.device_mesh.size(), tensor.device_mesh.get_local_rank()
    rows = -(-tensor.shape[0] // size)
    return min(rank * rows, tensor.shape[0])


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    contiguous = {k: v.detach().contiguous() for k, v in tensors.items()}
    safetensors.torch.save_file(contiguous, path, metadata=metadata or None)
    with path.open("rb") as file:
        os.fsync(file.fileno())
