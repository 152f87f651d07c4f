"""The tables of docs/logic.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from collimate import losses
from collimate.logic import NAMED, decompile, statement
from collimate.logic.tables import written_into

PAGE = Path(__file__).resolve().parents[2] / "docs" / "logic.md"


def test_the_page_says_what_is_computed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written_into(page), "a preset changed: run `make catalogue`"
    assert page.count("| dpo | loss | dpo | answers | logistic(0.1·h) |") == 1


def test_the_example_runs_and_says_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    for line, said in re.findall(r"^(.+?)  # (True|'entails')$", code, re.MULTILINE):
        assert repr(eval(line, names)) == said
    assert decompile(names["method"]) == NAMED["orpo"]
    assert (names["hinge"].loss, decompile(names["hinge"])) == (losses.hinge, NAMED["cCPO"])
    assert statement("L -> W", "W | L") == NAMED["cCPO"]
