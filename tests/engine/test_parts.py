"""Tensors in files, written whole or in parts and read by any number of processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from collimate._checks import BadRun
from collimate.engine.parts import Parts, write_parts


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "matrix": torch.randn(7, 3),
        "vector": torch.randn(5),
        "step": torch.tensor(3.0),
    }


def written_by(count: int, folder: Path, name: str = "model") -> dict[str, Tensor]:
    """The files of `count` sharded processes, by hand: equal runs of rows, the last ones shorter."""
    found = tensors()
    for rank in range(count):
        mine, starts = {}, {}
        for key, tensor in found.items():
            if not tensor.dim():
                if rank == 0:
                    mine[key] = tensor
                continue
            rows = -(-len(tensor) // count)
            low = min(rank * rows, len(tensor))
            mine[key], starts[key] = tensor[low : low + rows].contiguous(), low
        path = folder / f"{name}-{rank:05d}-of-{count:05d}.safetensors"
        save_file(mine, path, metadata={"first_rows": json.dumps(starts)})
    return found


def test_what_is_written_whole_is_read_whole(tmp_path: Path) -> None:
    write_parts(tmp_path, "model", tensors())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    parts = Parts(tmp_path, "model")
    assert parts.names == tensors().keys()
    for name, expected in tensors().items():
        found = torch.full_like(expected, float("nan"))
        parts.copy_into(name, found)
        assert torch.equal(found, expected)
        assert torch.equal(parts.whole(name), expected)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_parts_of_any_number_of_processes_become_whole(count: int, tmp_path: Path) -> None:
    expected = written_by(count, tmp_path)
    parts = Parts(tmp_path, "model")
    for name in expected:
        found = torch.full_like(expected[name], float("nan"))
        parts.copy_into(name, found)
        assert torch.equal(found, expected[name])


def test_a_missing_part_is_told(tmp_path: Path) -> None:
    written_by(3, tmp_path)
    (tmp_path / "model-00001-of-00003.safetensors").unlink()
    with pytest.raises(BadRun, match="files of it are missing"):
        Parts(tmp_path, "model")
    with pytest.raises(BadRun, match="no complete optimizer"):
        Parts(tmp_path, "optimizer")


def test_another_shape_is_told(tmp_path: Path) -> None:
    written_by(2, tmp_path)
    parts = Parts(tmp_path, "model")
    for rows in (5, 9):
        with pytest.raises(BadRun, match=f"7 rows, not {rows}"):
            parts.copy_into("matrix", torch.empty(rows, 3))
    with pytest.raises(BadRun, match="rows of shape"):
        parts.copy_into("matrix", torch.empty(7, 4))
