"""Where pieces that are tokenised apart meet: would tokenising them together give other tokens?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from collimate.data.templates import Draft, Segment
from collimate.data.tokenizer import Tokenizer, encode_texts

WINDOW = 48  # characters looked at on each side of a boundary
_REMEMBERED = 200_000


class Boundary:
    """Answers about one tokenizer's behaviour at boundaries, remembered by their text.

    Prompts end alike ("Assistant:") and answers begin alike ("I", "The"), so that most boundaries
    are looked at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, str], bool] = {}
        self._spaces: dict[str, list[int]] = {}

    def differs(self, drafts: Sequence[Draft]) -> list[bool]:
        """For each draft, whether joint tokenisation differs at any of its boundaries.

        Compared on the words that meet, at most `WINDOW` characters on either side: tokenizers
        split at white space before they merge, so that words farther off do not matter.
        """
        junctions = [list(_junctions(draft)) for draft in drafts]
        wanted = {pair for pairs in junctions for pair in pairs} - self._known.keys()
        new = sorted(wanted)
        texts = [text for left, right in new for text in (left, right, left + right)]
        ids = encode_texts(self._tokenizer, texts)
        if len(self._known) > _REMEMBERED:
            self._known = {
                pair: self._known[pair]
                for pairs in junctions
                for pair in pairs
                if pair in self._known
            }
        for at, pair in enumerate(new):
            left, right, joint = ids[3 * at : 3 * at + 3]
            self._known[pair] = left + right != joint
        return [any(self._known[pair] for pair in pairs) for pairs in junctions]

    def space_after_end(self, segment: Segment, ids: list[int], ends: frozenset[int]) -> int:
        r"""How many of the last `ids` are white space that follows an end-of-sequence token.

        >>> from collimate.data.tokenizer import CharacterTokenizer
        >>> Boundary(CharacterTokenizer()).space_after_end(Segment("yes.\n", 1.0),
        ...                                                [121, 46, 10], frozenset({46}))
        1
        """
        if not segment.text[-1:].isspace() or ends.isdisjoint(ids):
            return 0
        bare = segment.text.rstrip()
        space = segment.text[len(bare) :]
        if space not in self._spaces:
            self._spaces[space] = encode_texts(self._tokenizer, [space])[0]
        tail = len(self._spaces[space])
        if 0 < tail < len(ids) and ids[-tail:] == self._spaces[space]:
            return tail if ids[-tail - 1] in ends else 0
        # Some tokenizers write white space otherwise at the start of a text: compare without it.
        kept = encode_texts(self._tokenizer, [bare])[0]
        ended = bool(kept) and kept[-1] in ends and ids[: len(kept)] == kept
        return len(ids) - len(kept) if ended else 0


def _junctions(draft: Draft) -> Iterator[tuple[str, str]]:
    for answer in draft.answers:
        left = draft.prompt
        for segment in answer:
            if left and segment.text:
                yield _last_word(left[-WINDOW:]), _first_word(segment.text[:WINDOW])
            left = segment.text


def _last_word(text: str) -> str:
    """The last word with the white space on both sides of it."""
    words = text.split()
    if not words:
        return text
    before = text[: text.rindex(words[-1])]
    return text[len(before.rstrip()) :]


def _first_word(text: str) -> str:
    """The first word with the white space before it."""
    words = text.split(maxsplit=1)
    return text[: text.index(words[0]) + len(words[0])] if words else text
