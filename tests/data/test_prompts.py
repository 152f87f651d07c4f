"""Where an implicit prompt ends."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collimate.data import BadRow, Row
from collimate.data.parse import parse
from collimate.data.prompts import common_text


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("\n\nHuman: hi\n\nAI: yes", "\n\nHuman: hi\n\nAI: no", "\n\nHuman: hi\n\nAI:"),
        ("Q: a\nA: good", "Q: a\nA: great", "Q: a\nA:"),  # back to the start of the word
        ("Q: a\nA: I'd go", "Q: a\nA: I'm here", "Q: a\nA:"),
        ("Q: a\nyes", "Q: a\nno", "Q: a\n"),  # only a space goes with the answer
        ("Q: a A: yes sir", "Q: a A: yes madam", "Q: a A: yes"),
        ("問。好的", "問。不好", "問。"),
        ("abcx", "abcy", "abc"),  # no boundary anywhere: cut where it differs
        ("A: x!", "A: x?", "A: x"),
    ],
)  # fmt: skip
def test_cut(chosen: str, rejected: str, prompt: str) -> None:
    row = Row(index=0, values={"chosen": chosen, "rejected": rejected}, file="a")
    parsed = parse(row, "preference")
    assert parsed.prompt == prompt
    assert parsed.answers == (chosen[len(prompt) :], rejected[len(prompt) :])
    assert str(parsed.format) == "preference, implicit prompt"


@given(st.text("ab .é", max_size=12), st.text("ab .é", max_size=6), st.text("ab .é", max_size=6))
def test_nothing_is_lost(prompt: str, chosen: str, rejected: str) -> None:
    left, right = prompt + chosen, prompt + rejected
    assume(left != right)
    cut = common_text(left, right)
    assert left[:cut] == right[:cut]
    row = Row(index=0, values={"chosen": left, "rejected": right}, file="a")
    try:
        parsed = parse(row, "preference")
    except BadRow:
        return
    assert [str(parsed.prompt) + str(answer) for answer in parsed.answers] == [left, right]
