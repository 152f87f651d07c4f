"""What the command line's tests stand on: one tiny model, one finished run, `main` in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collimate.cli.main import main
from tests.cli.tiny import pairs, save_tiny, write_rows


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Collimate = Callable[..., Outcome]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models and files that tests read and never write."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny(folder / "model")
    save_tiny(folder / "other", seed=1)
    write_rows(folder / "pairs.jsonl", pairs(40))
    write_rows(folder / "held_out.jsonl", pairs(10, seed=1))
    return folder


@pytest.fixture
def collimate(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Collimate:
    """Run a command in this process, in an empty folder, with a cache of its own elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("COLLIMATE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("COLLIMATE_DEBUG", raising=False)

    def run(*argv: Any) -> Outcome:
        capfd.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code = main([str(argument) for argument in argv])
        caught = capfd.readouterr()
        return Outcome(code, caught.out, caught.err)

    return run


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps with a checkpoint of each; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    patch = pytest.MonkeyPatch()
    patch.setenv("COLLIMATE_CACHE", str(folder.parent / "cache"))
    argv = train_arguments(tiny, folder, "--checkpoint-every", 1, "--keep", 3)
    assert main([str(argument) for argument in argv]) == 0
    patch.undo()
    return folder


def train_arguments(tiny: Path, out: Path | str, *more: Any) -> list[Any]:
    """Three short steps on the made-up pairs."""
    return [
        "train",
        *("--model", tiny / "model", "--data", tiny / "pairs.jsonl", "--out", out),
        *("--max-steps", 3, "--batch-size", 4, "--no-progress", "--device", "cpu"),
        *more,
    ]
