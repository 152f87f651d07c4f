"""The table of TRL's losses without TRL: what it says of Collimate, and that docs/trl.md shows it."""

from __future__ import annotations

import pytest

from collimate import CollimateError
from collimate.compose import Method, Objective
from tests.parity.case import Case
from tests.parity.cases import ABSENT, CASES, NOT_OF_THE_LOSS
from tests.parity.formulas import made
from tests.parity.page import PAGE, replaced


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert replaced(text) == text, "run: python -m tests.parity.page"


def test_the_markers_are_asked_for() -> None:
    with pytest.raises(ValueError, match="markers"):
        replaced("a page without")


@pytest.mark.parametrize("case", [c for c in CASES if c.ours], ids=lambda case: case.name)
def test_what_the_table_writes_down_can_be_made_or_is_refused(case: Case) -> None:
    if case.kind == "refused":
        with pytest.raises(CollimateError):
            made(case.ours)
    else:
        assert isinstance(made(case.ours), Method | Objective)


def test_an_option_has_one_place() -> None:
    tried = {name for case in CASES for name in case.options}
    assert not tried & ABSENT.keys()
    assert not tried & NOT_OF_THE_LOSS
    assert not ABSENT.keys() & NOT_OF_THE_LOSS
    assert len({case.name for case in CASES}) == len(CASES)
