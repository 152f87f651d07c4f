"""A folder of runs in every state, and the board of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from collimate.board import create_app
from tests.board.folders import made_up, make_pairs
from tests.report.example_run import ATTACK, frontier, make_run

Board = Callable[..., TestClient]
NASTY = "<img src=x onerror=window.pwned=1>'\"& %2e%2e?#"
"""A run's name that a folder can have."""


def make_folder(root: Path) -> Path:
    """Runs: plain, with pairs, going on, of a nasty name, corrupt in three ways; and other things."""
    make_run(root / "plain", frontier=frontier(), created="2026-01-31T12:04:00Z")
    second = make_run(root / "second", steps=60, created="2026-02-01T09:00:00Z")
    make_pairs(second, made_up(120), suspects=(4, 10))
    make_run(root / "going", steps=30, status="running", created="2026-02-02T09:00:00Z",
             evaluation={"before": None, "after": None})  # fmt: skip
    nasty = make_run(root / NASTY, steps=20, error=ATTACK, status="failed")
    make_pairs(nasty, [(ATTACK, f" {ATTACK}", f" no {ATTACK}")] * 3, suspects=(2,))
    for name, content in (("torn", b'{"schema_version": 1,'), ("future", b'{"schema_version": 99}'),
                          ("bytes", b"\xff\xfe")):  # fmt: skip
        (root / name).mkdir()
        (root / name / "run.json").write_bytes(content)
    (root / "empty").mkdir()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "run.json").write_text("{}")
    (root / "notes.txt").write_text("mine\n")
    return root


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read by tests, never written."""
    return make_folder(tmp_path_factory.mktemp("board") / "runs")


@pytest.fixture
def board() -> Board:
    """The board of a folder, asked in this process by the name that it has."""

    def of(root: Path, **options: Any) -> TestClient:
        host = options.get("host", "127.0.0.1")
        return TestClient(create_app(root, **options), base_url=f"http://{host}:8765")

    return of
