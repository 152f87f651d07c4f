"""Counting a data set while it streams by."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter

import numpy as np
from jaxtyping import Int

from collimate._types import Answer, Example, Role
from collimate.data.assemble import Encoded
from collimate.data.bad_rows import BadRow, Reason
from collimate.data.facts import Facts, Lengths, ids_bytes
from collimate.data.notes import write_notes


class Tally:
    """Counts entries as they stream by; what it keeps per row is a few numbers."""

    def __init__(self) -> None:
        self.format = ""
        self.pairs = False
        self.used = 0
        self.skipped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self._ignored: set[str] = set()
        self._prompt = array("q")
        self._chosen = array("q")
        self._rejected = array("q")
        self._seen: set[bytes] = set()
        self._longer = 0.0

    def skip(self, bad: BadRow) -> None:
        """Count a row that is left out."""
        self.skipped[bad.reason.value] += 1

    def add(self, encoded: Encoded) -> None:
        """Count a row that is used."""
        self.used += 1
        self.format = str(encoded.format)
        self.pairs = encoded.format.read_as in ("preference", "triples")
        self.counts["prompts_truncated"] += encoded.prompt_truncated
        self.counts["answers_truncated"] += encoded.answers_truncated
        for name in (
            "joint_differs",
            "end_added",
            "end_inside",
            "unknown",
            "masked",
            "near_tie",
            "repeats_prompt",
        ):
            self.counts[name] += getattr(encoded, name)
        example = encoded.example
        self.columns.update(example.columns.keys())
        self._ignored |= encoded.ignored
        self._measure(example)
        self._compare(example)

    def kept_columns(self) -> tuple[str, ...]:
        """Columns that are numbers in every example."""
        return tuple(sorted(name for name, n in self.columns.items() if n == self.used))

    def facts(self, *, file: str, hash: str) -> Facts:
        """The facts of everything added so far; at least one row must have been."""
        kept = self.kept_columns()
        equal = (Reason.EQUAL, Reason.EQUAL_TOKENS, Reason.EQUAL_TRUNCATED)
        facts = Facts(
            file=file,
            hash=hash,
            rows=self.used + self.skipped.total(),
            used=self.used,
            skipped=dict(sorted(self.skipped.items())),
            format=self.format,
            prompt_tokens=_lengths(self._prompt),
            chosen_tokens=_lengths(self._chosen) if self._chosen else None,
            rejected_tokens=_lengths(self._rejected) if self._rejected else None,
            prompts_truncated=self.counts["prompts_truncated"],
            answers_truncated=self.counts["answers_truncated"],
            duplicates=self.counts["duplicates"],
            contradictions=self.counts["contradictions"],
            ties=self.counts["near_tie"] + sum(self.skipped[reason.value] for reason in equal),
            chosen_longer=self._longer / self.used if self.pairs else None,
            joint_tokenisation_differs=self.counts["joint_differs"],
            columns=kept,
            ignored=tuple(sorted((self._ignored | self.columns.keys()) - set(kept))),
            notes=(),
        )
        return write_notes(facts, self.counts)

    def _measure(self, example: Example) -> None:
        self._prompt.append(len(example.prompt))
        best = best_score(example)
        for answer in example.answers:
            if answer.role is not Role.ANSWER:
                continue
            (self._chosen if is_wanted(answer, best) else self._rejected).append(len(answer.ids))
        if self.pairs:
            chosen, rejected = (len(answer.ids) for answer in example.answers[:2])
            self._longer += (chosen > rejected) + 0.5 * (chosen == rejected)

    def _compare(self, example: Example) -> None:
        prompt = _digest(example.prompt)
        ranked = sorted(example.answers, key=lambda answer: -(answer.score or 0.0))
        said = [_digest(answer.ids) for answer in ranked if answer.role is Role.ANSWER]
        if len(said) == 1:  # a thumb is contradicted by its label, a pair by its order
            label = example.answers[0].label
            if label is None:  # a score has no opposite
                said = [said[0], str(example.answers[0].score).encode()]
                turned = list[bytes]()
            else:
                said, turned = [said[0], bytes([label + 1])], [said[0], bytes([1 - label])]
        else:
            turned = said[::-1]
        key = prompt + b"".join(said)
        self.counts["duplicates"] += key in self._seen
        self.counts["contradictions"] += bool(turned) and prompt + b"".join(turned) in self._seen
        self._seen.add(key)


def best_score(example: Example) -> float | None:
    """The largest score of its answers; None where none has one."""
    return max((a.score for a in example.answers if a.score is not None), default=None)


def is_wanted(answer: Answer, best: float | None) -> bool:
    """Whether an answer counts among the chosen: by its label, else as the best-scored of its list."""
    return answer.label == 1 if answer.label is not None else answer.score == best


def _digest(ids: Int[np.ndarray, " token"]) -> bytes:
    return hashlib.blake2b(ids_bytes(ids), digest_size=16).digest()


def _lengths(values: array[int]) -> Lengths:
    lengths = np.frombuffer(values, dtype=np.int64)
    return Lengths(median=float(np.median(lengths)), max=int(lengths.max()))
