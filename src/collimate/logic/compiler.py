"""From a structure to its loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import distributions, divergences, losses, margins, tradeoffs
from collimate._checks import BadComposition, BadConfig
from collimate._numerics import log1mexp
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Loss, Needs
from collimate.compose import Method
from collimate.logic.formulas import PREDICTIONS, VALUATIONS
from collimate.logic.structures import Structure
from collimate.margins.log_odds import LINEAR_ABOVE

WEIGHTS = ("answers", "tokens")
"""Whose probability weighs a proposition: the whole answer's, or the geometric mean per token."""


def compile(
    structure: Structure,
    *,
    beta: float = 1.0,
    loss: Loss = losses.logistic,
    target: float = 0.0,
    weights: str = "answers",
) -> Method:
    """loss(beta·h - target) per pair, h = log[count(T)/count(B)] (nats).

    count(F) = Σ over the valuations of F of Π p or 1 - p, independently; p is the probability of the
    answer that a proposition is about (WEIGHTS). Above log p = -1e-6, log(1 - p) goes on by its
    tangent, as in `margins.log_odds_gap`: an answer that is certain has infinite odds. Finite, with its
    gradient, for finite log p <= 0. The margin is a gap of rewards (`compares`) where T and B change
    places when the answers do.

    With P alone, beta = 1 and the logistic loss it is the semantic loss -log count(P). IPO's loss is
    `losses.squared(beta)` with target ½.

    Errors: BadConfig for beta or weights; BadComposition if T or B is empty, and of the method without
    the reference or the lengths that it reads. Source: richardson:25.

    >>> from collimate.logic import NAMED, compile
    >>> method = compile(NAMED["dpo"], beta=0.1)
    >>> view = PairLogProbs(policy_chosen=torch.tensor([-1.0]), policy_rejected=torch.tensor([-9.0]),
    ...     reference_chosen=torch.tensor([-2.0]), reference_rejected=torch.tensor([-3.0]))
    >>> method.margin(view, divergence=method.divergence)
    tensor([7.])
    """
    if weights not in WEIGHTS:
        raise BadConfig(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    top, bottom = tables = structure.tables
    if not top or not bottom:
        raise BadComposition(
            f"no valuation satisfies the {'bottom' if top else 'top'} of '{structure}', so that its "
            "loss is infinite everywhere: loosen P_C, or let P_A give valuations to both sides"
        )
    needs_reference = any(t >> v & 1 != t >> v % 4 & 1 for t in tables for v in VALUATIONS)
    margin = margins.Margin(
        name=f"log_count_ratio({structure})",
        value=partial(_log_count_ratio, tables=tables, weights=weights),
        needs=Needs(view="pairs", reference=needs_reference),
        compares=(_swapped(bottom), _swapped(top)) == tables,
        constant=target,
        source="richardson:25",
    )
    return Method(
        name="statement",
        distribution=distributions.offline_pairs(),
        divergence=divergences.none,
        margin=margin,
        loss=loss,
        tradeoff=tradeoffs.fixed(beta),
        source="richardson:25",
    )


def _swapped(table: int) -> int:
    """The table with the answers' roles exchanged: bits 0 and 1, and 2 and 3, of its valuations."""
    return sum(1 << (v << 1 & 0b1010 | v >> 1 & 0b0101) for v in VALUATIONS if table >> v & 1)


def _log_count_ratio(
    view: PairLogProbs, divergence: Divergence, *, tables: tuple[int, int], weights: str
) -> Float[Tensor, " pair"]:
    literals = cache(partial(_literals, view, weights=weights))
    nothing = torch.zeros_like(view.policy_chosen)
    top, bottom = (_log_count(table, PREDICTIONS, literals, nothing) for table in tables)
    return top - bottom


def _log_count(
    table: int,
    names: Sequence[str],
    literals: Callable[[str], tuple[Tensor, Tensor]],
    nothing: Float[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """log Σ over the valuations of a table that is not empty, by cases of the last proposition.

    One that does not matter drops out, and is not read: p + (1 - p) is never summed.
    """
    if not names:
        return nothing
    *rest, name = names
    half = 1 << len(rest)
    cases = table >> half, table & (1 << half) - 1
    if cases[0] == cases[1]:
        return _log_count(cases[0], rest, literals, nothing)
    found = [
        literal + _log_count(case, rest, literals, nothing)
        for literal, case in zip(literals(name), cases, strict=True)
        if case
    ]
    return torch.logaddexp(*found) if len(found) == 2 else found[0]


def _literals(
    view: PairLogProbs, name: str, *, weights: str
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """log p and log(1 - p) of a proposition."""
    answer = PREDICTIONS.index(name) % 2
    policy = (view.policy_chosen, view.policy_rejected)
    log_p = (policy if name in ("W", "L") else view.reference())[answer]
    if weights == "tokens":
        log_p = log_p / margins.lengths(view)[answer]
    tame = log_p.clamp(max=LINEAR_ABOVE)
    return log_p, log1mexp(tame) - (log_p - tame) / math.expm1(-LINEAR_ABOVE)
