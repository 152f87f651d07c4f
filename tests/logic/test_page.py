"""The tables of docs/logic.md."""

from __future__ import annotations

from pathlib import Path

from collimate.logic.tables import written_into

PAGE = Path(__file__).resolve().parents[2] / "docs" / "logic.md"


def test_the_page_says_what_is_computed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written_into(page), "a preset changed: run `make catalogue`"
    assert page.count("| dpo | loss | dpo | answers | logistic(0.1·h) |") == 1
