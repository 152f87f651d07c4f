"""The objective of a step: Σ over parts and terms of c · Σ values·weight / Σ weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import Batch, View
from collimate.axes import Needs, ReferenceUpdate, State
from collimate.compose import Objective

Denominators = Mapping[tuple[int, str], Float[Tensor, ""]]


def view_of(batch: Batch, needs: Needs) -> View:
    """The view of the batch that a method asks for."""
    if needs.view == "pairs":
        return batch.pairs()
    if needs.view == "thumbs":
        return batch.thumbs()
    if needs.view == "lists":
        return batch.lists()
    return batch.tokens() if needs.view == "tokens" else batch


def objective_value(
    objective: Objective,
    batch: Batch,
    states: Sequence[State],
    denominators: Denominators | None = None,
) -> Float[Tensor, ""]:
    """The objective on `batch`: of a whole step, or a micro-batch's share of it.

    denominators: Σ weight of each term over the whole step; None where the batch is the step. A
    term whose weights are all zero adds nothing.
    """
    total = batch.log_prob[:0].sum()  # 0 with a gradient of 0, should every weight be 0
    for i, part in enumerate(objective.parts):
        for name, term in part.method.terms(view_of(batch, part.method.needs), states[i]).items():
            weight = term.weight.detach()
            mass = weight.sum() if denominators is None else denominators[i, name]
            if mass > 0:
                share = (term.values * weight).sum() / mass
                total = total + part.coefficient * term.coefficient * share
    return total


def denominators_of(objective: Objective, batch: Batch, states: Sequence[State]) -> Denominators:
    """Σ weight of each term over the step: of its data alone, whatever the log-probs are.

    Weights never depend on the policy, so they are known before the first forward pass.
    """
    return {
        (i, name): term.weight.detach().sum()
        for i, part in enumerate(objective.parts)
        for name, term in part.method.terms(view_of(batch, part.method.needs), states[i]).items()
    }


def initial_states(objective: Objective, *, seed: int = 0) -> list[State]:
    """The state of every part before the first step; one that has a `seed` gets the run's."""
    states = [part.method.init() for part in objective.parts]
    return [{**state, "seed": float(seed)} if "seed" in state else state for state in states]


def updated_states(objective: Objective, batch: Batch, states: Sequence[State]) -> list[State]:
    """The state of every part after a step."""
    return [
        part.method.update(view_of(batch, part.method.needs), state)
        for part, state in zip(objective.parts, states, strict=True)
    ]


def needs_reference(objective: Objective) -> bool:
    """Whether any part compares with a reference."""
    return any(part.method.needs.reference for part in objective.parts)


def reads_reference_logits(objective: Objective) -> bool:
    """Whether any part has a signal against the reference's own logits."""
    return any(
        signal.against == "reference"
        for part in objective.parts
        for signal in part.method.needs.signals
    )


def reference_update_of(objective: Objective) -> ReferenceUpdate | None:
    """How the reference moves; None where it stays. Errors: BadComposition for two ways."""
    needs = [part.method.needs for part in objective.parts]
    found = {need.reference_update for need in needs if need.reference}
    moves = found - {None}
    if moves and len(found) > 1:
        raise BadComposition(f"'{objective.name}': its parts move the reference in different ways")
    return moves.pop() if moves else None


def keeps_reference(objective: Objective) -> bool:
    """Whether the reference is kept as a model: it moves, or a signal reads its own logits.

    Errors: BadComposition for two ways to move.
    """
    return reference_update_of(objective) is not None or reads_reference_logits(objective)


def needs_of(objective: Objective) -> Needs:
    """What its parts need of the data, together. Errors: BadComposition where no data can be both."""
    needs = [part.method.needs for part in objective.parts]
    views = {need.view for need in needs}
    if len(views) > 1:
        raise BadComposition(
            f"'{objective.name}' has parts that read {' and '.join(sorted(views))} of the same data: "
            "train one after the other, or write the parts for one view"
        )
    return replace(
        needs[0],
        mismatched=any(need.mismatched for need in needs),
        gold=any(need.gold for need in needs),
        noise=any(need.noise for need in needs),
    )


def couples_batch(objective: Objective) -> bool:
    """Whether any part's units depend on each other."""
    return any(part.method.needs.couples == "batch" for part in objective.parts)
