"""A model in a folder, and the mark that a payload would leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.equivalence.runs import saved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"
