"""Methods from five choices: composition, legality, objectives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._function_method import FunctionMethod, couples_pairs, weight_of
from collimate._types import PairLogProbs
from collimate.axes import (
    Divergence,
    FDivergence,
    Loss,
    Margin,
    Needs,
    ReferenceUpdate,
    Signal,
    Source,
    State,
    Term,
    TradeOff,
)
from collimate.axes import Method as AnyMethod
from collimate.distributions import offline_pairs
from collimate.lab import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What each unit's losses are multiplied by, without gradient.

    value: (view, state of the trade-off) -> factor [unit]. formula: it as text. signals: that it
    reads. couples: "batch" if it depends on the step's other units.
    """

    value: Callable[[Any, State], Tensor]
    formula: str = ""
    signals: tuple[Signal, ...] = ()
    couples: Literal["example", "batch"] = "example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summand:
    """coefficient · loss(beta·h - target), one value per unit, beside a method's first loss.

    name: of the term in metrics. beta: its own, None for the trade-off's.
    """

    name: str
    margin: Margin
    loss: Loss
    coefficient: float = 1.0
    beta: float | None = None

    def values(
        self, view: Any, divergence: Divergence, beta: float | Tensor
    ) -> Float[Tensor, " unit"]:
        """loss(beta·h - target) of each unit, without the coefficient."""
        scale = beta if self.beta is None else self.beta
        return self.loss(
            scale * self.margin(view, divergence=divergence) - self.margin.target(view)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Optimum:
    """A population optimum, and the choices of the method for which it was stated."""

    stated: Callable[[World], Tensor | None]
    choices: tuple[Any, ...]

    def __call__(self, world: World, /) -> Tensor | None:
        return self.stated(world)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method as five choices: loss(z), z = beta·h - target, one value per unit of its view.

    A unit is what the margin's view holds: a pair, a labelled answer, a list. distribution,
    divergence, margin, loss, tradeoff: the choices. source: key and place of the publication.
    coefficient: of the loss, where there are others. also: further losses of further margins, added.
    factor: what each unit's losses are multiplied by.
    reference_update: how the reference moves, if it does.
    optimum: world -> log-probs of the exact population optimum, where theory has one: of these choices,
    so that `dataclasses.replace` with another one leaves none.

    Errors: BadComposition for choices that are not valid together, with the reason and a way out.

    >>> from collimate import divergences, losses, margins, tradeoffs
    >>> method = Method(name="mine", distribution=offline_pairs(), divergence=divergences.reverse_kl,
    ...     margin=margins.log_ratio_gap, loss=losses.hinge, tradeoff=tradeoffs.fixed(0.5), source="")
    >>> method(PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-2.0]),
    ...     reference_chosen=torch.tensor([-1.0]), reference_rejected=torch.tensor([-1.0])))
    tensor([0.5000])
    """

    name: str
    distribution: Source
    divergence: Divergence
    margin: Margin
    loss: Loss
    tradeoff: TradeOff
    source: str
    coefficient: float = 1.0
    also: tuple[Summand, ...] = ()
    factor: Factor | None = None
    reference_update: ReferenceUpdate | None = None
    optimum: Callable[[World], Tensor | None] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "optimum", self._own(self.optimum))
        for summand in self.summands:
            if summand.margin.closed_form:
                _require_closed_form(self.name, summand.margin.name, self.divergence)
        if not any(summand.margin.reads_divergence for summand in self.summands):
            _require_unread(self.name, self.margin.name, self.divergence)
        if len({summand.margin.needs.view for summand in self.summands}) > 1:
            raise BadComposition(
                f"method '{self.name}': its margins read different views; use an Objective of parts"
            )
        if len({summand.name for summand in self.summands}) < len(self.summands):
            raise BadComposition(f"method '{self.name}': its summands need names of their own")

    def _own(self, optimum: Callable[[World], Tensor | None] | None) -> _Optimum | None:
        """The optimum as it was stated, of these choices; None if it is that of others."""
        if optimum is None:
            return None
        choices = (
            *(self.distribution, self.divergence, self.margin, self.loss, self.tradeoff),
            *(self.coefficient, self.also, self.factor, self.reference_update),
        )
        if not isinstance(optimum, _Optimum):
            return _Optimum(stated=optimum, choices=choices)
        return optimum if optimum.choices == choices else None

    @property
    def needs(self) -> Needs:
        """What margins, trade-off and factor need, together."""
        margins = _together([summand.margin.needs for summand in self.summands])
        more = Factor(value=_one) if self.factor is None else self.factor
        couples = {margins.couples, more.couples, self.tradeoff.couples}
        return replace(
            margins,
            signals=tuple(dict.fromkeys((*margins.signals, *more.signals))),
            couples="batch" if "batch" in couples else "example",
            reference_update=self.reference_update,
        )

    @property
    def summands(self) -> tuple[Summand, ...]:
        """Margin and loss of its own, under the name `loss`, and the further ones."""
        own = Summand(name="loss", margin=self.margin, loss=self.loss, coefficient=self.coefficient)
        return (own, *self.also)

    def __call__(self, view: Any, /) -> Float[Tensor, " unit"]:
        """The sum of the terms of each unit, in the initial state; no reduction, no weight."""
        terms = self.terms(view, self.init()).values()
        return torch.stack([term.coefficient * term.values for term in terms]).sum(0)

    def init(self) -> State:
        """The trade-off's initial state."""
        return self.tradeoff.init()

    def terms(self, view: Any, state: State, /) -> Mapping[str, Term]:
        """`loss`, and each summand by its name, weighted by the data's column `weight` (1 without)."""
        beta = self.tradeoff.beta(view, state)
        factor = 1.0 if self.factor is None else self.factor.value(view, state).detach()
        found: dict[str, Term] = {}
        for summand in self.summands:
            values = factor * summand.values(view, self.divergence, beta)
            found[summand.name] = Term(summand.coefficient, values, weight_of(view, values))
        return found

    def update(self, view: Any, state: State, /) -> State:
        """The trade-off's next state."""
        return self.tradeoff.update(view, state)

    def measure(
        self, view: Any, state: State, /
    ) -> Mapping[str, Float[Tensor, " unit"] | Bool[Tensor, " unit"]]:
        """beta·h, the gap of implicit rewards that is really optimised, and the margin's counts.

        Also beta, where it is not the same for all steps.
        """
        found = dict(self.margin.measure(view, divergence=self.divergence))
        beta = self.tradeoff.beta(view, state)
        if self.margin.compares:
            found["reward_gap"] = beta * self.margin(view, divergence=self.divergence)
        return {**found, "beta": beta} if isinstance(beta, Tensor) else found

    def population_optimum(self, world: World) -> Float[Tensor, "context response"] | None:
        """Log-probs of the exact minimiser of the population loss in `world`.

        None where theory gives none for this method in this world.
        """
        return None if self.optimum is None else self.optimum(world)

    @staticmethod
    def of(function: Callable[[PairLogProbs], Tensor], /) -> FunctionMethod:
        """A method from any `f(PairLogProbs) -> Tensor[pair]`: the researcher's door.

        Whether f couples the pairs of a batch is measured on made-up pairs: a coupled one is
        differentiated over the whole step at once, so that accumulation changes nothing.

        Errors: BadComposition if f does not return one value per pair.

        >>> def margin_of_one(view):
        ...     return (1 - (view.policy_chosen - view.policy_rejected)).relu()
        >>> Method.of(margin_of_one).name
        'margin_of_one'
        """
        name = getattr(function, "__name__", type(function).__name__)
        couples = "batch" if couples_pairs(function) else "example"
        return FunctionMethod(
            name=name,
            function=function,
            needs=Needs(view="pairs", reference=True, couples=couples),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One summand of an objective: coefficient · method on examples from source."""

    source: Source
    method: AnyMethod
    coefficient: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a run minimises: a sum of parts. DPO has one; RPO, HyPO, KDRL have two or three.

    Errors: BadComposition without parts, or with a coefficient that is not finite.
    """

    name: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise BadComposition(f"objective '{self.name}' has no parts: give at least one")
        for part in self.parts:
            if not math.isfinite(part.coefficient):
                raise BadComposition(
                    f"objective '{self.name}': the coefficient of '{part.method.name}' must be "
                    f"finite, got {part.coefficient}"
                )

    @staticmethod
    def of(method: AnyMethod | Objective, /) -> Objective:
        """The objective of a single method; an objective is returned as it is."""
        if isinstance(method, Objective):
            return method
        source = getattr(method, "distribution", None) or offline_pairs()
        return Objective(name=method.name, parts=(Part(source=source, method=method),))


def _require_closed_form(name: str, margin: str, divergence: Divergence) -> None:
    way_out = "use reverse_kl, forward_kl, jensen_shannon or alpha(a) with a >= 0"
    if not isinstance(divergence, FDivergence):
        raise BadComposition(
            f"method '{name}': divergence '{divergence.name}' is not an f-divergence, so the margin "
            f"'{margin}' has no f' to read; {way_out}"
        )
    if divergence.slope_at_zero > -math.inf:
        raise BadComposition(
            f"method '{name}': divergence '{divergence.name}' has f'(0+) = "
            f"{divergence.slope_at_zero:g} > -inf, so the optimal policy may drop answers, has no "
            f"closed form, and the margin '{margin}' is not valid; {way_out}, or an on-policy method"
        )


def _require_unread(name: str, margin: str, divergence: Divergence) -> None:
    if divergence.name not in ("reverse_kl", "none"):
        raise BadComposition(
            f"method '{name}': the margin '{margin}' reads no divergence, so "
            f"'{divergence.name}' would change nothing; use reverse_kl (or none, without a reference), "
            "or a margin in closed form, such as log_ratio_gap"
        )


def _one(view: Any, state: State) -> Tensor:
    return torch.ones(())


def _together(needs: Sequence[Needs]) -> Needs:
    """What several margins of one view need."""
    signals = dict.fromkeys(signal for need in needs for signal in need.signals)
    return replace(
        needs[0],
        signals=tuple(signals),
        reference=any(need.reference for need in needs),
        mismatched=any(need.mismatched for need in needs),
        gold=any(need.gold for need in needs),
        noise=any(need.noise for need in needs),
        couples="batch" if any(need.couples == "batch" for need in needs) else "example",
    )
