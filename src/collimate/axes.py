"""The protocols on one page: what a newcomer reads first.

Every method is five choices: distribution (`Source`), divergence (`Divergence`), margin
(`Margin`), loss (`Loss`), trade-off (`TradeOff`). `Method` is what the engine runs; it sees no
more of a method than is written here. `Signal` is a number per answer token that a method may
ask the engine's head for.

A part may have a `formula`, itself as text: what `collimate.explain` puts together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from collimate._checks import BadConfig
from collimate._types import Example

State = Mapping[str, float]
"""What a method remembers between steps: plain numbers, saved in every checkpoint.

The engine puts the run's seed where a state has a `seed`: what a method draws is drawn from it.
"""


@runtime_checkable
class Signal(Protocol):
    """One number per answer token, computed inside the engine's one chunked head.

    against: whose logits come as `other`: nobody's, the reference's or the teacher's.
    """

    @property
    def name(self) -> str: ...
    @property
    def against(self) -> Literal["none", "reference", "teacher"]: ...
    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None,
    ) -> Float[Tensor, " token"]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceUpdate:
    """A reference that follows: every so many steps its weights become alpha·p + (1 - alpha)·q.

    Steps taken count: one that is skipped, its gradient not finite, moves nothing and delays the rest.

    Errors: BadConfig unless alpha is in (0, 1] and every a whole number above 0.
    """

    alpha: float
    every: int

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise BadConfig(f"alpha must be above 0 and at most 1, got {self.alpha!r}")
        if isinstance(self.every, bool) or self.every < 1:
            raise BadConfig(f"every must be a whole number of steps above 0, got {self.every!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method needs, checkable before the first forward pass.

    view: which view of the batch it reads. signals: what the head must compute beside log-probs.
    reference: whether a frozen reference is compared with; reference_update: how it moves, if it does.
    mismatched: whether each example needs an
    answer under another's prompt too; gold: an answer to imitate. noise: a standard normal number for
    each example, drawn anew in each step from the run's seed, as the column `noise` (0 where nothing
    is trained). readout: what the model must output.
    couples: "batch" if one unit's loss depends on the other units of the step; the engine then
    differentiates the whole step at once (two-pass pull-back), so that accumulation changes
    nothing.
    """

    view: Literal["pairs", "thumbs", "lists", "tokens", "batch"] = "pairs"
    signals: tuple[Signal, ...] = ()
    reference: bool = True
    reference_update: ReferenceUpdate | None = None
    mismatched: bool = False
    gold: bool = False
    noise: bool = False
    readout: Literal["tokens", "scalar", "hidden"] = "tokens"
    couples: Literal["example", "batch"] = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerUnit:
    """One number per unit of a view, and the formula of it as text: a target, or a factor.

    value: view -> [unit]. formula: in the symbols that `collimate.explain` names, and in the names
    of the data's columns.
    """

    value: Callable[[Any], Tensor]
    formula: str

    def __call__(self, view: Any, /) -> Float[Tensor, " unit"]:
        """The number of each unit."""
        return self.value(view)


class Term(NamedTuple):
    """One term of the objective: coefficient · Σ values·weight / Σ weight over the whole step.

    Weights come from data, never from the policy.
    """

    coefficient: float
    values: Float[Tensor, " unit"]
    weight: Float[Tensor, " unit"]


@runtime_checkable
class Method(Protocol):
    """A loss with its needs and its state; the engine sees a `Method`, never which one."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Needs: ...
    def __call__(self, view: Any, /) -> Float[Tensor, " unit"]:
        """The public, pure face: one loss per unit of the view."""
        ...

    def init(self) -> State:
        """The state before the first step."""
        ...

    def terms(self, view: Any, state: State, /) -> Mapping[str, Term]:
        """The terms whose sum is the objective."""
        ...

    def update(self, view: Any, state: State, /) -> State:
        """The state after a step; `view` is the whole step's, without gradient."""
        ...

    def measure(
        self, view: Any, state: State, /
    ) -> Mapping[str, Float[Tensor, " unit"] | Bool[Tensor, " unit"]]:
        """What is worth logging, one per unit: the mean of numbers, the count of what is true."""
        ...


@runtime_checkable
class Source(Protocol):
    """The distribution axis as data: the engine draws, the axis only says what.

    draw: from whom. per_prompt: how many answers per prompt (0: as many as the data has).
    """

    @property
    def name(self) -> str: ...
    @property
    def draw(self) -> Literal["data", "policy", "reference", "mixture", "teacher"]: ...
    @property
    def per_prompt(self) -> int: ...
    def select(self, scored: Example, generator: np.random.Generator, /) -> Sequence[Example]:
        """The training examples that one scored prompt yields."""
        ...


@runtime_checkable
class Divergence(Protocol):
    """What ties the policy p to a reference, teacher or target q."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    def exact(
        self, log_p: Float[Tensor, "*batch outcome"], log_q: Float[Tensor, "*batch outcome"], /
    ) -> Float[Tensor, "*batch"]:
        """D(p‖q) in nats over the last dimension."""
        ...


@runtime_checkable
class FDivergence(Divergence, Protocol):
    """D_f(p‖q) = E_q[f(p/q)], everything a function of u = log p - log q (nats)."""

    @property
    def slope_at_zero(self) -> float:
        """f'(0+)."""
        ...

    @property
    def slope_at_infinity(self) -> float:
        """lim f'(t) for t to infinity."""
        ...

    def f(self, u: Float[Tensor, "*any"], /) -> Float[Tensor, "*any"]: ...
    def f_prime(self, u: Float[Tensor, "*any"], /) -> Float[Tensor, "*any"]: ...
    def log_f_prime_inverse(self, s: Float[Tensor, "*any"], /) -> Float[Tensor, "*any"]: ...
    def perspective(
        self, log_p: Float[Tensor, "*any"], log_q: Float[Tensor, "*any"]
    ) -> Float[Tensor, "*any"]: ...


@runtime_checkable
class Margin(Protocol):
    """What quantity h must exceed what target; z = beta·h - target goes to the loss.

    closed_form: h reads f' as an implicit reward, which is valid only where f'(0+) = -inf.
    reads_divergence: h reads the divergence in any way; one that nobody reads is refused.
    compares: h sets the chosen answer against the rejected one, and is a gap of rewards.
    `target` may depend on the view (lengths, rewards, ranks), never on the policy.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def closed_form(self) -> bool: ...
    @property
    def reads_divergence(self) -> bool: ...
    @property
    def compares(self) -> bool: ...
    @property
    def source(self) -> str: ...
    def __call__(self, view: Any, /, *, divergence: Divergence) -> Float[Tensor, "unit ..."]: ...
    def target(self, view: Any, /) -> float | Float[Tensor, " unit"]: ...
    def measure(
        self, view: Any, /, *, divergence: Divergence
    ) -> Mapping[str, Float[Tensor, " unit"] | Bool[Tensor, " unit"]]: ...


@runtime_checkable
class Loss(Protocol):
    """What a missed margin costs: one value per z, or per row of them (a ranking)."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    def __call__(self, z: Float[Tensor, "*any"], /) -> Float[Tensor, ...]: ...


@runtime_checkable
class TradeOff(Protocol):
    """How strongly the policy is held to the reference: beta, perhaps as a function of state.

    couples: "batch" if beta depends on the whole step's units, as in `Needs`.
    """

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def couples(self) -> Literal["example", "batch"]: ...
    def init(self) -> State: ...
    def beta(self, view: Any, state: State, /) -> float | Float[Tensor, " unit"]: ...
    def update(self, view: Any, state: State, /) -> State: ...
