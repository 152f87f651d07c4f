"""How long prompts and answers may be."""

from __future__ import annotations

from dataclasses import dataclass

from collimate._checks import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Lengths in tokens, and what to do beyond them. None means no limit.

    max_prompt: longer prompts keep their end (and a beginning-of-sequence token). max_answer, the
    end-of-sequence token included: longer answers are bad rows, or are cut if `truncate_answers`.
    context: the most tokens that prompt and one answer may have together. vocab_size: ids must be
    below it.
    Raises BadConfig for anything but whole numbers above 0.

    >>> Limits(max_prompt=0)
    Traceback (most recent call last):
    collimate._checks.BadConfig: max_prompt must be a whole number above 0, or None, got 0
    """

    max_prompt: int | None = None
    max_answer: int | None = None
    truncate_answers: bool = False
    context: int | None = None
    vocab_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_prompt", "max_answer", "context", "vocab_size"):
            value: object = getattr(self, name)
            if value is None or (isinstance(value, int) and value > 0 and value is not True):
                continue
            raise BadConfig(f"{name} must be a whole number above 0, or None, got {value!r}")
        if self.truncate_answers and self.max_answer is None:
            raise BadConfig(
                "truncate_answers needs max_answer, the number of tokens to cut answers to"
            )
