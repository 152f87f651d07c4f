"""From a method back to the statement it compiles, found by trying every structure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import losses
from collimate._checks import BadComposition
from collimate._numerics import log1mexp
from collimate._types import Batch, PairLogProbs
from collimate.axes import Loss, Margin
from collimate.axes import Method as AnyMethod
from collimate.compose import Method, Summand
from collimate.logic.compiler import WEIGHTS, compile
from collimate.logic.formulas import PREDICTIONS, Formula, widened
from collimate.logic.structures import Structure, of_tables

_DRAWS = 6  # pairs on which a margin and a structure must agree
_CLOSE = 1e-10  # nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One term of a method as a statement: coefficient · loss(beta·h - target), h of the structure.

    term: its name. structure: None where there is none, for the reason given. weights: whose
    probabilities. coefficient, beta, target: None where they differ from pair to pair.
    """

    term: str
    structure: Structure | None = None
    reason: str = ""
    weights: str = "answers"
    loss: Loss | None = None
    coefficient: float | None = 1.0
    beta: float | None = None
    target: float | None = None


def decompile(method: AnyMethod) -> Structure:
    """The structure of the first term that compares the two answers, else of the first term.

    Methods of one structure may differ in loss, beta, target and weights: see `readings`.

    Errors: BadComposition where no structure has its margin, with the reason. Source: richardson:25.

    >>> from collimate import methods
    >>> print(decompile(methods.orpo()))
    P: L -> W; P_C: W ^ L; P_A: false
    """
    found = readings(method)
    summands = method.summands if isinstance(method, Method) else ()
    core = next((r for r, s in zip(found, summands, strict=False) if s.margin.compares), found[0])
    if core.structure is None:
        raise BadComposition(f"method '{method.name}' has no statement: {core.reason}")
    return core.structure


def readings(method: AnyMethod) -> tuple[Reading, ...]:
    """Each term of a method as a statement, or why it has none.

    The margin is evaluated on made-up pairs, and compared with the log-ratio of each of the 4^(2^n)
    structures over the predictions that it depends on. At most one fits: two of one log-ratio differ by
    a factor that cancels, in predictions that the ratio does not depend on. A negated log-probability
    -log p, as in fine-tuning, is read as -log sigmoid(log[p/(1-p)]). Source: richardson:25.

    >>> from collimate import methods
    >>> [(r.term, str(r.structure)) for r in readings(methods.cpo())]
    [('loss', 'P: L -> W; P_C: W | L; P_A: W & L'), ('nll', 'P: W; P_C: true; P_A: false')]
    """
    if not isinstance(method, Method):
        return (Reading(term="loss", reason="it is not composed of a margin and a loss"),)
    return tuple(_reading(method, summand) for summand in method.summands)


def _reading(method: Method, summand: Summand) -> Reading:
    margin, needs = summand.margin, summand.margin.needs
    reading = Reading(term=summand.name, loss=summand.loss)
    if needs.view != "pairs" or needs.signals or needs.couples == "batch":
        return replace(reading, reason="a statement is about the two answers of one pair, no more")
    try:
        h = torch.stack([margin(view, divergence=method.divergence) for view in _pairs()])
    except BadComposition as error:
        return replace(reading, reason=f"no proposition stands for what it reads: {error}")
    beta = (
        method.tradeoff.beta(_pairs()[0], method.init()) if summand.beta is None else summand.beta
    )
    beta, target = _number(beta), _target(margin)
    times = None if method.factor else summand.coefficient
    if summand.loss is losses.negation and beta is not None and target == 0:
        h = h - log1mexp(h)  # NaN, which fits nothing, unless h is negative
        reading, beta, times = replace(reading, loss=losses.logistic), 1.0, times and times * beta
    elif beta is not None and beta < 0:
        h, beta = -h, -beta
    reading = replace(reading, beta=beta, target=target, coefficient=times)
    base, *others = h
    names = tuple(
        n for n, o in zip(PREDICTIONS, others, strict=True) if (o - base).abs().max() > _CLOSE
    )
    for weights in WEIGHTS:
        structure = _match(base, names, weights)
        if structure is not None:
            return replace(reading, structure=structure, weights=weights)
    if margin.closed_form and method.divergence.name != "reverse_kl":
        reason = f"its rewards are f' of {method.divergence.name}, which is no logarithm"
    else:
        reason = f"none of the 4^(2^{len(names)}) structures over {', '.join(names)} has its margin"
    return replace(reading, reason=reason)


def _target(margin: Margin) -> float | None:
    try:
        return _number(margin.target(_pairs()[0]))
    except BadComposition:  # it is a column of the data
        return None


def _number(value: float | Tensor) -> float | None:
    return None if isinstance(value, Tensor) else value


@cache
def _pairs() -> tuple[PairLogProbs, ...]:
    """Made-up pairs, and the same with each of PREDICTIONS changed in turn."""
    generator = torch.Generator().manual_seed(185)
    lengths = torch.randint(2, 6, (2 * _DRAWS,), generator=generator)
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    drawn = torch.rand(3, len(sequence), dtype=torch.float64, generator=generator)
    policy, reference, other = -0.05 - 0.45 * drawn  # answers of 8 to 90 %
    chosen = sequence % 2 == 0

    def view(p: Tensor, q: Tensor) -> PairLogProbs:
        return Batch(
            sequence=sequence,
            example=torch.arange(_DRAWS).repeat_interleave(2),
            label=torch.full((2 * _DRAWS,), torch.nan),
            score=torch.full((2 * _DRAWS,), torch.nan),
            role=torch.zeros_like(lengths),
            token_weight=torch.ones_like(p),
            columns={},
            log_prob=p,
            reference=q,
        ).pairs()

    return (
        view(policy, reference),
        view(policy.where(~chosen, other), reference),
        view(policy.where(chosen, other), reference),
        view(policy, reference.where(~chosen, other)),
        view(policy, reference.where(chosen, other)),
    )


def _match(h: Float[Tensor, " pair"], names: tuple[str, ...], weights: str) -> Structure | None:
    """The structure over `names` whose log-ratio is h: for each T, the B with log count(T) - h."""
    counts = _log_counts(names, weights)
    ordered, tables = counts[:, 0].sort()
    wanted = counts - h
    low = torch.searchsorted(ordered, wanted[:, 0] - _CLOSE)
    high = torch.searchsorted(ordered, wanted[:, 0] + _CLOSE, right=True)
    for top in (high > low).nonzero().flatten().tolist():
        for bottom in tables[low[top] : high[top]].tolist():
            if (counts[bottom] - wanted[top]).abs().max() < _CLOSE:  # not of -inf, an empty table's
                return of_tables(widened(top, names), widened(bottom, names))
    return None


@cache
def _log_counts(names: tuple[str, ...], weights: str) -> Float[Tensor, "table pair"]:
    """log count(F) on the made-up pairs for every truth table F over `names`; -inf for the empty one."""
    valuations = torch.ones(1, _DRAWS, dtype=torch.float64)
    for name in names:
        alone = compile(
            Structure(Formula(name)), weights=weights
        )  # whose log-ratio is log[p/(1-p)]
        p = alone.margin(_pairs()[0], divergence=alone.divergence).sigmoid()
        valuations = torch.cat([valuations * (1 - p), valuations * p])
    tables = torch.arange(1 << len(valuations))[:, None]
    members = tables >> torch.arange(len(valuations)) & 1
    return (members.double() @ valuations).log()
