"""One row of the table: options of a TRL trainer, a method here, and how they compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tests.parity.formulas import Formula

FAILS = "fails"
NOT_FINITE = "not finite"
AWAY = "away"
"""Of a difference that has a size, but no formula: rounding."""

Expected = Formula | Literal["fails", "not finite", "away"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """theirs: arguments of the trainer's config. ours: the expression that makes our method.

    expected: what TRL's loss is where it is not ours, or where there is no ours; None otherwise.
    micro_batches: how many TRL's step has.
    policy: whose weights. reference: whether TRL is given one. weighted: whether our rows have a
    column `weight`, the tokens of the chosen answer. mismatched: which answers under other prompts ours
    has, where it needs them.
    """

    kind: Literal["equal", "differs", "refused", "none"]
    trainer: str
    theirs: str
    ours: str = ""
    expected: Expected | None = None
    why: str = ""
    micro_batches: int = 2
    policy: str = "policy"
    reference: str = "given"
    weighted: bool = False
    mismatched: Literal["ours", "theirs"] = "ours"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments by name."""
        return eval(f"dict({self.theirs})")

    @property
    def name(self) -> str:
        """Of its test."""
        step = f"{self.policy} {self.micro_batches}"
        return f"{self.trainer}({self.theirs}) {step} {self.kind} {self.ours}"

    def to_json(self) -> dict[str, Any]:
        """What TRL's side reads."""
        names = ("trainer", "options", "micro_batches", "policy", "reference")
        return {name: getattr(self, name) for name in names}


def equal(trainer: str, theirs: str, ours: str, why: str = "", **how: Any) -> Case:
    """The same loss and gradient, also over two micro-batches."""
    return Case(kind="equal", trainer=trainer, theirs=theirs, ours=ours, why=why, **how)


def differs(trainer: str, theirs: str, ours: str, expected: Expected, why: str, **how: Any) -> Case:
    """TRL's loss is `expected`, and ours another."""
    both: dict[str, Any] = {"trainer": trainer, "theirs": theirs, "ours": ours}
    return Case(kind="differs", expected=expected, why=why, **both, **how)


def refused(trainer: str, theirs: str, ours: str, expected: Expected, why: str) -> Case:
    """Ours is an error that says why; TRL's is `expected`."""
    both: dict[str, Any] = {"trainer": trainer, "theirs": theirs, "ours": ours}
    return Case(kind="refused", expected=expected, why=why, **both)


def missing(trainer: str, theirs: str, expected: Formula, why: str = "") -> Case:
    """No preset here computes `expected`."""
    return Case(
        kind="none",
        trainer=trainer,
        theirs=theirs,
        expected=expected,
        why=why,
    )
