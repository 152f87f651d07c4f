"""Two processes compute what one computes: replicated with one exchange a step, and under FSDP2."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from collimate.engine.plan import shares
from collimate.engine.processes import ALONE, Processes
from tests.engine.tiny import pairs
from tests.equivalence.runs import metrics_of, record_of, saved, stop_before, text_pairs
from tests.equivalence.test_pairs import pairs_of
from tests.equivalence.worker import COUNTS, MODELS, OBJECTIVES, results
from tests.warm import Ended, Started, start

ROOT = Path(__file__).parents[2]


def surroundings(count: int) -> list[dict[str, str]]:
    """The environment of each of `count` processes, in which they find each other."""
    shared = {**os.environ, "OMP_NUM_THREADS": "1"}
    if count == 1:
        return [shared]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def started(count: int, module: str, *argv: str) -> list[Started]:
    """A module in `count` processes that find each other."""
    return [
        start(module, *argv, environment=environment, cwd=ROOT)
        for environment in surroundings(count)
    ]


def launched(count: int, module: str, *argv: str) -> list[Ended]:
    """Run it to its end."""
    return [process.wait() for process in started(count, module, *argv)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    return dict(results(ALONE))


@pytest.fixture(scope="module", params=["replicated", "sharded"])
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    out = tmp_path_factory.mktemp("processes") / "found.safetensors"
    for done in launched(2, "tests.equivalence.worker", request.param, str(out)):
        assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out)


@pytest.mark.slow
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


@pytest.mark.slow
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
    (mine,) = ALONE.gather(parts, [[3, 2]], torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(mine, parts, strict=True))
    assert ALONE.total(4) == 4
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.is_main
    assert not Processes(rank=1, count=2, device=torch.device("cpu")).is_main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    saved(place / "model")
    for name, rows in (("train", text_pairs(20)), ("held_out", text_pairs(7, seed=3))):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (place / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def single(place: Path) -> Path:
    return TestRuns().run(place, "single", 1)


@pytest.fixture(scope="module")
def single_adapter(place: Path) -> Path:
    return TestRuns().run(place, "single_adapter", 1, "--lora-rank", "2")


LONG = ("--max-steps", "40")  # so many that none is faster than a signal sent at the third


@pytest.fixture(scope="module")
def single_long(place: Path) -> Path:
    return TestRuns().run(place, "single_long", 1, *LONG)


class TestRuns:
    """`collimate train` and `score` as a user starts them, on two processes and on one."""

    SETTINGS = (
        *("--batch-size", "8", "--max-steps", "6", "--learning-rate", "1e-3", "--device", "cpu"),
        *("--tokens-per-micro-batch", "96", "--checkpoint-every", "3", "--samples", "0"),
        *("--no-progress", "--no-report"),
    )

    def run(self, place: Path, out: str, count: int, *more: str) -> Path:
        """`collimate train` in `count` processes, each run with a cache of its own."""
        command = (
            *("collimate", "train", "--model", str(place / "model"), *self.SETTINGS),
            *("--data", str(place / "train.jsonl"), "--evaluation", str(place / "held_out.jsonl")),
            *("--out", str(place / out), "--cache", str(place / f"cache_{out}"), *more),
        )
        for done in launched(count, *command):
            assert done.returncode == 0, done.stderr[-3000:]
            assert "Traceback" not in done.stderr
        return place / out

    def require_close(self, run: Path, other: Path) -> None:
        for line, expected in zip(metrics_of(run), metrics_of(other), strict=True):
            assert line.keys() == expected.keys()
            for name, value in expected.items():
                if (line["step"], name) == (1, "reward_accuracy"):
                    continue  # every log-ratio is 0 but for rounding: whose sign it has is chance
                assert line[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        (found, *_), (wanted, *_) = pairs_of(run), pairs_of(other)
        for name, column in wanted.items():
            tolerance = 1e-4 * np.abs(column).max()
            assert found[name] == pytest.approx(column, abs=tolerance, nan_ok=True), name

    @pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
    @pytest.mark.slow
    def test_two_processes_train_as_one(self, parallel: str, place: Path, single: Path) -> None:
        run = self.run(place, parallel, 2, "--parallel", parallel)
        self.require_close(run, single)
        record, alone = record_of(run), record_of(single)
        assert record["machine"]["processes"] == 2
        assert record["evaluation"]["after"]["rows"] == 7
        assert record["evaluation"]["after"]["loss"] == pytest.approx(
            alone["evaluation"]["after"]["loss"], rel=1e-4
        )
        assert record["reference"]["computed"] == alone["reference"]["computed"] == 27
        for name, tensor in load_file(single / "model" / "model.safetensors").items():
            found = load_file(run / "model" / "model.safetensors")[name]
            assert (
                found - tensor
            ).abs().max() < 1e-2 * tensor.abs().max()  # Adam: signs of rounding
        names = {path.name for path in (run / "checkpoints" / "step-00000006").iterdir()}
        assert ("model-00001-of-00002.safetensors" in names) == (parallel == "fsdp2")

    @pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
    @pytest.mark.slow
    def test_two_processes_train_an_adapter_as_one(
        self, parallel: str, place: Path, single_adapter: Path
    ) -> None:
        run = self.run(place, f"lora_{parallel}", 2, "--lora-rank", "2", "--parallel", parallel)
        self.require_close(run, single_adapter)
        names = [path / "model" / "adapter_model.safetensors" for path in (single_adapter, run)]
        expected, found = map(load_file, names)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert (found[name] - tensor).abs().max() < 1e-2 * max(tensor.abs().max(), 1e-3)

    TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2")
    ACCELERATE = ("accelerate.commands.launch", "--config_file", "accelerate.yaml")

    @pytest.mark.parametrize(
        ("launcher", "config"),
        [
            ((), ("--config", "ddp.toml")),
            (TORCHRUN, ("--config", "fsdp2.toml")),
            ((), ("--deepspeed", "zero3.json")),
            (ACCELERATE, ("--parallel", "fsdp2", "--precision", "bf16")),
        ],
        ids=["ddp", "fsdp2", "zero3", "accelerate"],
    )
    @pytest.mark.slow
    def test_the_commands_of_the_manual(
        self, launcher: tuple[str, ...], config: tuple[str, ...], place: Path
    ) -> None:
        """configs/distributed/README.md on two CPU processes, in bf16 as written there.

        Without a launcher they are started as torchrun starts them, which one of them shows.
        """
        folder = ROOT / "configs" / "distributed"
        launcher, given = (
            [str(folder / x) if (folder / x).exists() else x for x in words]
            for words in (launcher, config)
        )
        out = place / f"manual_{launcher[0][:3] if launcher else ''}_{Path(given[1]).stem}"
        command = (
            *("collimate", "train", *given, "--device", "cpu"),
            *("--model", str(place / "model"), "--data", str(place / "train.jsonl")),
            *("--out", str(out), "--cache", f"{out}_cache", "--max-steps", "3"),
            *("--batch-size", "8", "--learning-rate", "1e-3", "--no-progress", "--no-report"),
        )
        if launcher:
            ended = [
                subprocess.run(
                    [sys.executable, "-m", *launcher, "-m", *command],
                    cwd=ROOT, env=surroundings(1)[0], capture_output=True, text=True, timeout=300,
                )
            ]  # fmt: skip
        else:
            ended = launched(2, *command)
        for done in ended:
            assert done.returncode == 0, done.stderr[-3000:]
        record = record_of(out)
        assert record["machine"]["processes"] == 2
        assert record["config"]["precision"] == "bf16"
        assert (record["config"]["parallel"] == "ddp") == ("ddp" in given[1])
        losses = [line["loss"] for line in metrics_of(out)]
        assert losses[0] == pytest.approx(math.log(2), abs=2e-2)
        assert losses[-1] < losses[0]

    @pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
    @pytest.mark.slow
    def test_a_killed_process_ends_the_others_with_a_reason(
        self, parallel: str, place: Path, single_long: Path
    ) -> None:
        """SIGKILL of one of two in the middle of training; the run then goes on to the same end."""
        name = f"killed_{parallel}"
        out = place / name
        command = (
            *("collimate", "train", "--model", str(place / "model"), *self.SETTINGS),
            *("--data", str(place / "train.jsonl"), "--evaluation", str(place / "held_out.jsonl")),
            *("--out", str(out), "--cache", str(place / f"cache_{name}"), "--parallel", parallel),
            *LONG,
        )
        main, other = started(2, *command)
        deadline = time.monotonic() + 200
        while not (out / "checkpoints" / "step-00000003").exists():
            assert main.runs, main.wait().stderr[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.kill()
        done = main.wait(timeout=200)
        assert other.wait().returncode == -signal.SIGKILL
        assert done.returncode > 0
        assert "another process of this run is gone" in done.stderr
        assert "Traceback" not in done.stderr
        assert record_of(out)["status"] == "failed"
        self.run(place, name, 2, "--parallel", parallel, *LONG, "--resume")
        self.require_close(out, single_long)

    @pytest.mark.parametrize(
        ("before", "after"),
        [((2, "fsdp2"), (1, "ddp")), ((1, "ddp"), (2, "fsdp2")), ((2, "ddp"), (2, "fsdp2"))],
    )
    @pytest.mark.slow
    def test_checkpoints_of_any_number_of_processes_go_on_in_any_other(
        self, before: tuple[int, str], after: tuple[int, str], place: Path, single: Path
    ) -> None:
        name = f"{before}{after}".translate({ord(c): None for c in "(), '"})
        run = self.run(place, name, before[0], "--parallel", before[1])
        stop_before(run, 6)
        self.run(place, name, after[0], "--parallel", after[1], "--resume")
        self.require_close(run, single)

    @pytest.mark.slow
    def test_scores_of_two_processes_are_those_of_one(self, place: Path) -> None:
        found: list[list[dict[str, float]]] = []
        for count in (1, 2):
            out = place / f"scores_{count}.jsonl"
            command = ("collimate", "score", "--model", str(place / "model"))
            named = ("--data", str(place / "train.jsonl"), "--out", str(out), "--device", "cpu")
            outputs = [done.stdout for done in launched(count, *command, *named)]
            assert sum(str(out) in output for output in outputs) == 1  # one of them speaks
            found.append([json.loads(line) for line in out.read_text().splitlines()])
        for one, two in zip(*found, strict=True):
            assert two == pytest.approx(one, abs=1e-4)

    @pytest.mark.slow
    def test_dropout_is_refused(self, place: Path) -> None:
        out = place / "dropout"
        command = ("collimate", "train", "--model", str(place / "model"), *self.SETTINGS)
        named = ("--data", str(place / "train.jsonl"), "--out", str(out), "--dropout")
        for done in launched(2, *command, *named):
            assert done.returncode == 2
            assert "leave out dropout" in done.stderr
        assert not out.exists()
