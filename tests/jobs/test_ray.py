"""Ray as a user meets it: workers and everything else killed, the cache filled, silence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import collimate
from collimate.jobs._ray import ATTEMPTS
from collimate.jobs.score import line
from collimate.jobs.score_on_ray import parts_beside
from tests.cli.tiny import pairs, save_tiny, write_rows
from tests.jobs.test_score_on_ray import read, require_close

pytestmark = pytest.mark.slow

ROWS = 3072  # six blocks: long enough to be killed in the middle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    save_tiny(folder / "model")
    rows: list[Any] = pairs(ROWS)
    rows[700] = {**rows[700], "chosen": ""}
    rows[-1] = {"prompt": "?"}
    write_rows(folder / "pairs.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def expected(place: Path) -> list[dict[str, Any]]:
    rows = collimate.score(
        place / "model",
        place / "pairs.jsonl",
        device="cpu",
        on_bad_row="skip",
        bad_rows=place / "bad",
    )
    return [line(row, tokens=False) for row in rows]


@pytest.fixture
def begin(place: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `collimate score --engine ray`; it and all its processes end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*more: str) -> subprocess.Popen[str]:
        words = ["-m", "collimate", "score", "--model", str(place / "model"), "--engine", "ray"]
        data = ["--data", str(place / "pairs.jsonl"), "--on-bad-row", "skip", "--device", "cpu"]
        environment = {**os.environ, "COLLIMATE_CACHE": str(tmp_path / "cache")}
        environment["PYTHONPATH"] = str(Path(collimate.__file__).parents[1])
        command = subprocess.Popen(
            [sys.executable, *words, *data, *more],
            cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(command)
        return command

    yield start
    for one in started:
        kill_all(family(one))
        one.communicate()


def family(command: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        parent = psutil.Process(command.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Sequence[psutil.Process]) -> None:
    for one in processes:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def wait_for_parts(command: subprocess.Popen[str], parts: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(list((parts / "parts").glob("0*"))) < count:
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers(command: subprocess.Popen[str]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for one in family(command):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found += [one] if "MapWorker" in " ".join(one.cmdline()) else []
    return found


def test_a_killed_worker_and_a_killed_machine_lose_nothing(
    place: Path, expected: list[dict[str, Any]], begin: Any, tmp_path: Path
) -> None:
    out, parts = tmp_path / "s.jsonl", parts_beside(tmp_path / "s.jsonl")
    arguments = ("--out", "s.jsonl", "--workers", "2", "--no-progress")

    whole = begin("--out", "whole.jsonl", "--workers", "2", "--no-progress")
    wait_for_parts(whole, parts_beside(tmp_path / "whole.jsonl"), 1)
    (victim, *_) = workers(whole)
    listening: set[str] = set()
    for one in family(whole):
        with suppress(psutil.NoSuchProcess):
            listening |= {
                socket.laddr.ip.removeprefix("::ffff:")
                for socket in one.net_connections(kind="inet")
                if socket.status == psutil.CONN_LISTEN
            }
    assert listening
    assert listening <= {"127.0.0.1", "::1"}
    victim.send_signal(signal.SIGKILL)
    told, errors = whole.communicate(timeout=300)
    assert (whole.returncode, told) == (0, "whole.jsonl\n"), errors
    assert errors.splitlines() == [
        "1 rows left out: empty answer",
        "1 rows left out: missing field",
    ]
    require_close(read(tmp_path / "whole.jsonl"), expected)
    assert (tmp_path / "whole.bad_rows.jsonl").read_bytes() == (place / "bad").read_bytes()

    first = begin(*arguments)
    wait_for_parts(first, parts, 2)
    kill_all(family(first))
    assert not out.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (parts / "parts").glob("0*")}
    assert 2 <= len(kept) < 6
    second = begin(*arguments)
    wait_for_parts(second, parts, len(kept) + 1)
    times = {path.name: path.stat().st_mtime_ns for path in (parts / "parts").glob("0*")}
    assert kept.items() <= times.items(), "what was done was not done again"
    told, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not parts.exists()


DEADLY = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from collimate.jobs import _ray

class Deadly:
    def score(self, number, block):
        if block == b"deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return SimpleNamespace(lines=block, segment=None)  # without torch: five workers start

class Worker(_ray._Worker):
    def __init__(self, model, reference, settings, attempts):
        self.scorer, self.attempts = Deadly(), attempts

_ray._Worker = Worker
blocks = {number: Path(path) for number, path in enumerate(sys.argv[1:])}
with _ray.connected(None):
    for block in _ray.scored(blocks, None, None, None, _ray.Pool(workers=1, cores=1, gpus=0)):
        print(block.number, file=sys.stderr)
"""


def test_a_block_that_kills_every_worker_ends_the_command(tmp_path: Path) -> None:
    blocks = [tmp_path / str(number) for number in range(3)]
    for path, content in zip(blocks, (b"good", b"deadly", b"good"), strict=True):
        path.write_bytes(content)
    environment = {**os.environ, "PYTHONPATH": str(Path(collimate.__file__).parents[1])}
    command = [sys.executable, "-c", DEADLY, *map(str, blocks)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1
    assert f"BadRun: block 1 has killed {ATTEMPTS} workers" in done.stderr


def test_a_cluster_by_address_finds_relative_paths_and_fills_the_cache(
    place: Path,
    expected: list[dict[str, Any]],
    begin: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its workers run in the folder where Ray was started, not in that of the command."""
    (tmp_path / "model").symlink_to(place / "model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ray = str(Path(sys.executable).with_name("ray"))
    temporary = f"/tmp/ray-{os.getpid()}"  # sockets have short names only
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # what `ray start` asks for
    head = ["start", "--head", "--port=0", "--num-cpus=2", f"--temp-dir={temporary}"]
    quiet = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(Path(collimate.__file__).parents[1]),
    }
    started = subprocess.run(
        [ray, *head, "--include-dashboard=false", "--disable-usage-stats"],
        cwd=elsewhere, env=quiet, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    try:
        assert started.returncode == 0, started.stderr
        address = started.stdout.partition("--address='")[2].partition("'")[0]
        again = ("--model", "model", "--limit", "600")  # the last --model counts
        address_too = ("--ray-address", address, "--no-progress", *again)
        command = begin("--out", "s.jsonl", "--fill-cache", *address_too)
        told, errors = command.communicate(timeout=300)
        assert (command.returncode, told) == (0, "s.jsonl\n"), errors
        rows = [row for row in expected if row["row"] < 600]
        require_close(read(tmp_path / "s.jsonl"), rows)
    finally:
        subprocess.run([ray, "stop", "--force"], capture_output=True, timeout=120)
        shutil.rmtree(temporary, ignore_errors=True)
    run = collimate.train(
        place / "model",
        place / "pairs.jsonl",
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        **{"limit": 600, "on_bad_row": "skip", "max_steps": 1, "samples": 0, "device": "cpu"},
        report=False,
        progress=False,
    )
    assert run.record["reference"]["computed"] == 0
    assert run.record["reference"]["from_cache"] == 600
