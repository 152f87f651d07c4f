"""One model, one undisturbed run that every disturbed one must come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import collimate
from collimate.engine import store
from tests.equivalence.runs import SETTINGS, saved, train


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A run that nothing disturbed: its folder, and the seconds that it took."""

    folder: Path
    seconds: float


Begin = Callable[..., collimate.Run]


@pytest.fixture(autouse=True)
def _many_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run this small would write its cache once."""
    monkeypatch.setattr(store, "SEGMENT_BYTES", 256)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    train(tmp_path_factory.mktemp("warm") / "run", model=base, max_steps=1)  # imports, first calls
    began = time.monotonic()
    run = train(tmp_path_factory.mktemp("whole") / "run", model=base, **SETTINGS)
    return Whole(folder=run.folder, seconds=time.monotonic() - began)


@pytest.fixture
def begin(base: Path, tmp_path: Path) -> Begin:
    """Begin (or resume) the run in `tmp_path/run`, its cache beside it."""
    return lambda **given: train(tmp_path / "run", model=base, **{**SETTINGS, **given})
