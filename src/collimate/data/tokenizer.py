"""What the data layer uses of a tokenizer, and a tokenizer of bytes for data without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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

    >>> encode_texts(ByteTokenizer(), ["hi", "hi"])
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

    >>> find_edges(ByteTokenizer(), end_ids=[10, 13]).eos
    256
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
class ByteTokenizer:
    """One token per UTF-8 byte, id 256 for the end: lengths of data before any model is chosen.

    A conversation is laid out as "role: content" lines.

    >>> ByteTokenizer()(["ab"])["input_ids"]
    [[97, 98]]
    """

    name_or_path: str = "bytes"
    bos_token_id: int | None = None
    eos_token_id: int | None = 256
    unk_token_id: int | None = None
    chat_template: str | None = "role: content"

    def __call__(
        self, text: list[str], *, add_special_tokens: bool = True, verbose: bool = True
    ) -> Mapping[str, Any]:
        """UTF-8 bytes of each text."""
        return {"input_ids": [list(part.encode("utf-8")) for part in text]}

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> Any:
        """The turns one after the other, as text."""
        turns = "".join(f"{turn['role']}: {turn['content']}\n" for turn in conversation)
        return turns + ("assistant: " if add_generation_prompt else "")
