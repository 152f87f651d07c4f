"""Several made-up runs and the page about them, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collimate import report
from collimate.report import RunRecord
from collimate.report._blocks import Prose, Tab, Table
from collimate.report._comparison.page import comparison_tabs
from tests.report.example_run import make_run, run_fields

EXAMPLE = run_fields("example", 60)


def runs(folder: Path, *changes: Mapping[str, Any], names: Sequence[str] = ()) -> list[Path]:
    """One run for each set of changes, named a, b, c ... unless names are given."""
    called = names or [chr(ord("a") + place) for place in range(len(changes))]
    return [
        make_run(folder / name, **{"steps": 60, **change})
        for name, change in zip(called, changes, strict=True)
    ]


def records(folder: Path, *changes: Mapping[str, Any]) -> list[RunRecord]:
    return [report.load(path) for path in runs(folder, *changes)]


def method(**changes: Any) -> dict[str, Any]:
    return {"method": {**EXAMPLE["method"], **changes}}


def config(**changes: Any) -> dict[str, Any]:
    return {"config": {**EXAMPLE["config"], **changes}}


def seeded(seed: int, **changes: Any) -> dict[str, Any]:
    return {**config(seed=seed), "seed": seed, **changes}


def tab(found: Sequence[RunRecord], identity: str) -> Tab:
    return next(tab for tab in comparison_tabs(found) if tab.identity == identity)


def table(found: Tab, title: str) -> Table:
    return next(b for b in found.blocks if isinstance(b, Table) and b.title == title)


def said(found: Tab) -> str:
    return " ".join(s for b in found.blocks if isinstance(b, Prose) for s in b.sentences)
