"""What the data layer uses of a tokenizer, and a tokenizer for data without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from collimate._checks import BadData


@runtime_checkable
class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here; any object with it will do."""

    @property
    def name_or_path(self) -> str:
        """For messages."""
        ...

    @property
    def bos_token_id(self) -> int | None:
        """Beginning of sequence."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """End of sequence."""
        ...

    @property
    def unk_token_id(self) -> int | None:
        """Stands for what the tokenizer does not know."""
        ...

    @property
    def chat_template(self) -> Any:
        """None where the tokenizer cannot lay out conversations."""
        ...

    def __call__(
        self, text: list[str], *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Mapping[str, Any]:
        """Token ids of each text under the key "input_ids"; verbose: warn of long texts."""
        ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
    ) -> Any:
        """The conversation as one text (tokenize=False)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The tokens at the edges of a sequence.

    prefix: ids that the tokenizer itself puts before a text (beginning-of-sequence, or nothing).
    eos: the id appended after an answer. ends: every id that ends an answer.
    bos, unknown: the tokenizer's ids for these, None where it has none.
    """

    prefix: tuple[int, ...]
    eos: int
    ends: frozenset[int]
    bos: int | None
    unknown: int | None


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, nothing added; each distinct text is tokenised once.

    >>> encode_texts(CharacterTokenizer(), ["hi", "hi"])
    [[104, 105], [104, 105]]
    """
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return []
    # Lengths are judged by `Limits`, so the tokenizer need not warn of them.
    ids = tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
    of_text: dict[str, list[int]] = dict(zip(distinct, ids, strict=True))
    return [of_text[text] for text in texts]


def find_edges(tokenizer: Tokenizer, end_ids: int | Iterable[int] | None = None) -> Edges:
    """The edge tokens of `tokenizer`; `end_ids` are the generation config's `eos_token_id`s.

    What ends an answer is the tokenizer's own end-of-sequence token and each of `end_ids`; the
    tokenizer's is the one appended, the first of `end_ids` where the tokenizer has none.
    Raises BadData if there is neither.

    >>> find_edges(CharacterTokenizer(), end_ids=[10, 13]).ends == {10, 13, 0x10FFFF}
    True
    """
    given = [end_ids] if isinstance(end_ids, int) else list(end_ids or ())
    own = tokenizer.eos_token_id
    ends = given if own is None else [own, *given]
    if not ends:
        raise BadData(
            f"tokenizer '{tokenizer.name_or_path}': expected an end-of-sequence token, got none, "
            "so the model could not learn where to stop; set tokenizer.eos_token, or pass end_ids "
            "(the generation config's eos_token_id)"
        )
    return Edges(
        prefix=_prefix(tokenizer),
        eos=ends[0],
        ends=frozenset(ends),
        bos=tokenizer.bos_token_id,
        unknown=tokenizer.unk_token_id,
    )


def _prefix(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer by default puts before a text."""
    for probe in ("a", "the", "0"):
        with_own = list(tokenizer([probe], add_special_tokens=True)["input_ids"][0])
        bare = list(tokenizer([probe], add_special_tokens=False)["input_ids"][0])
        if bare:  # a tokenizer of few words may drop the probe
            starts = range(len(with_own) - len(bare) + 1)
            at = next((i for i in starts if with_own[i : i + len(bare)] == bare), 0)
            return tuple(with_own[:at])
    bos = tokenizer.bos_token_id
    added = list(tokenizer([""], add_special_tokens=True)["input_ids"][0])
    return (bos,) if bos is not None and added[:1] == [bos] else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterTokenizer:
    """One token per character, its code point: lengths of data before any model is chosen.

    It begins a text with a token of its own, as many do, so that an empty prompt is left for the
    model's tokenizer to judge. Beginning and end are U+10FFFE and U+10FFFF, which are no characters.
    A conversation is laid out as "role: content" lines, the assistant's with their end.

    >>> CharacterTokenizer()(["ab"], add_special_tokens=False)["input_ids"]
    [[97, 98]]
    """

    name_or_path: str = "characters"
    bos_token_id: int = 0x10FFFE
    eos_token_id: int = 0x10FFFF
    unk_token_id: int | None = None
    chat_template: str | None = "role: content"

    def __call__(
        self, text: list[str], *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Mapping[str, Any]:
        """Code points of each text."""
        begin = [self.bos_token_id] if add_special_tokens else []
        return {"input_ids": [[*begin, *map(ord, part)] for part in text]}

    def decode(self, ids: Int[np.ndarray, " token"]) -> str:
        """The text of `ids`, without beginning and end.

        >>> CharacterTokenizer().decode(np.array([0x10FFFE, 97, 98, 0x10FFFF]))
        'ab'
        """
        edges = (self.bos_token_id, self.eos_token_id)
        return "".join(chr(i) for i in ids.tolist() if i not in edges)

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> Any:
        """The turns one after the other, as text."""
        ends = {"assistant": chr(self.eos_token_id)}
        turns = "".join(
            f"{turn['role']}: {turn['content']}{ends.get(turn['role'], '')}\n"
            for turn in conversation
        )
        return turns + ("assistant: " if add_generation_prompt else "")
