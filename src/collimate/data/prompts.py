"""Where an implicit prompt ends: the longest common beginning of the two answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collimate.data.bad_rows import Reason, shown
from collimate.data.row import Row

Message = Mapping[str, Any]
"""One turn: "role" and "content" (both text), and whatever else the chat template reads."""

Conversation = tuple[Message, ...]
Content = str | Conversation


def split_common(row: Row, chosen: Content, rejected: Content) -> tuple[Content, Content, Content]:
    """(prompt, chosen, rejected) of a row whose answers both begin with the prompt.

    Raises BadRow where nothing is common, or where one answer is only the beginning of the other.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = common_text(chosen, rejected)
        _check_cut(row, chosen, rejected, cut)
        return chosen[:cut], chosen[cut:], rejected[cut:]
    assert not isinstance(chosen, str)  # `parse` refuses mixtures
    assert not isinstance(rejected, str)
    cut = common_messages(chosen, rejected)
    _check_cut(row, chosen, rejected, cut)
    return chosen[:cut], chosen[cut:], rejected[cut:]


def split_repeated(
    row: Row, prompt: str, chosen: Conversation, rejected: Conversation
) -> tuple[Conversation, Conversation, Conversation]:
    """The same for conversations beside a text prompt that repeats one of their common messages.

    Raises BadRow if the text is in none of them: then it cannot be told what the prompt is.
    """
    cut = common_messages(chosen, rejected)
    if not any(message["content"].strip() == prompt.strip() for message in chosen[:cut]):
        raise row.bad(
            "prompt",
            Reason.MIXED,
            f"expected the prompt as messages, or as the text of a message that both answers begin "
            f"with, got the text {shown(prompt)} beside messages; write all three as messages",
        )
    _check_cut(row, chosen, rejected, cut)
    return chosen[:cut], chosen[cut:], rejected[cut:]


def common_messages(chosen: Conversation, rejected: Conversation) -> int:
    """How many whole messages both conversations begin with.

    >>> ask = {"role": "user", "content": "2+2?"}
    >>> common_messages((ask, {"role": "assistant", "content": "4"}),
    ...                 (ask, {"role": "assistant", "content": "5"}))
    1
    """
    cut = 0
    for left, right in zip(chosen, rejected, strict=False):
        if left != right:
            break
        cut += 1
    return cut


def common_text(chosen: str, rejected: str) -> int:
    """Length of the common beginning, in characters, moved back to the start of a word.

    The words "good" and "great" share "g", and a prompt that ended there would split a word into
    tokens that the model never saw; moved back, the shared letters cancel in a log-ratio gap. One
    space before the answers goes with them. Text without any boundary is cut where it differs.

    >>> common_text("A: good", "A: great")
    2
    >>> common_text("A: yes", "A: no")
    2
    """
    cut = _common_length(chosen, rejected)
    if cut in (len(chosen), len(rejected)):
        return cut
    start = cut
    while start and _in_word(chosen[start - 1]):
        start -= 1
    # Only a cut inside a word moves: "B" and "!" after "A" differ at a boundary.
    inside = _in_word(chosen[cut]) or _in_word(rejected[cut])
    if inside and start:
        cut = start
    return cut - 1 if cut > 1 and chosen[cut - 1] == " " else cut


def _common_length(left: str, right: str) -> int:
    # Bisection over slices compares at C speed; answers may hold 100 000 characters.
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "'\u2019_"


def _check_cut(row: Row, chosen: Content, rejected: Content, cut: int) -> None:
    if cut == 0:
        raise row.bad(
            "chosen",
            Reason.EMPTY_PROMPT,
            f"expected chosen and rejected to begin with the same prompt, because there is no "
            f"column 'prompt', got {shown(chosen)} and {shown(rejected)}; add a column 'prompt'",
        )
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        if cut == len(answer):
            raise row.bad(
                field,
                Reason.EMPTY_ANSWER,
                "expected an answer after the common beginning of chosen and rejected (there is no "
                "column 'prompt'), got one that is only the beginning of the other, so that the "
                "end of the prompt cannot be told; add a column 'prompt' or remove the row",
            )
