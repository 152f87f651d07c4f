"""Two processes compute what one computes: replicated with one exchange a step, and under FSDP2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from collimate.engine.plan import shares
from collimate.engine.processes import ALONE, Processes
from tests.engine.tiny import pairs
from tests.equivalence.worker import COUNTS, MODELS, OBJECTIVES, results

ROOT = Path(__file__).parents[2]


def launched(
    count: int, *command: str, timeout: float = 300
) -> list[subprocess.CompletedProcess[str]]:
    """Run a command in `count` processes that find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    done = []
    for process in started:
        out, error = process.communicate(timeout=timeout)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, error))
    return done


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return dict(results(ALONE))


@pytest.fixture(scope="module", params=["replicated", "sharded"])
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    out = tmp_path_factory.mktemp("processes") / "found.safetensors"
    for done in launched(2, "-m", "tests.equivalence.worker", request.param, str(out)):
        assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("case", OBJECTIVES)
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_gradients_equal_those_of_one_process(
    name: str, case: str, count: int, alone: dict[str, Tensor], together: dict[str, Tensor]
) -> None:
    place = f"{name} {case} {count}"
    gradients = {k: v for k, v in alone.items() if k.startswith(f"{place} gradient")}
    assert gradients
    assert {k for k in together if k.startswith(f"{place} gradient")} == gradients.keys()
    largest = max(g.abs().max().item() for g in gradients.values())
    # Norms and rotary angles are float32 inside: the order of sums shows there.
    tolerance = 1e-6 if name != "gpt2" else 1e-12
    for k, expected in gradients.items():
        assert (together[k] - expected).abs().max().item() <= tolerance * largest
    for k in (f"{place} loss", f"{place} norm"):
        assert together[k].item() == pytest.approx(alone[k].item(), rel=tolerance)
    assert torch.allclose(together[f"{place} log_prob"], alone[f"{place} log_prob"], atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_scored_once(
    name: str, alone: dict[str, Tensor], together: dict[str, Tensor]
) -> None:
    expected = alone[f"{name} scored"]
    assert together[f"{name} scored"].shape == expected.shape
    assert torch.allclose(together[f"{name} scored"], expected, atol=1e-5)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_shares_hold_every_example_once_and_are_even(count: int, processes: int) -> None:
    examples = pairs(count)
    owners = shares(examples, processes)
    assert sorted(i for own in owners for i in own) == list(range(count))
    loads = [sum(examples[i].tokens for i in own) for own in owners]
    longest = max(example.tokens for example in examples)
    assert max(loads) - min(loads) <= longest


def test_one_process_is_its_own_whole() -> None:
    parts = [torch.arange(3.0), torch.arange(2.0)]
    (mine,) = ALONE.gather(parts, [[3, 2]])
    assert all(torch.equal(a, b) for a, b in zip(mine, parts, strict=True))
    assert ALONE.total(4) == 4
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.is_main
    assert not Processes(rank=1, count=2, device=torch.device("cpu")).is_main
