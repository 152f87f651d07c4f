"""What each preset of pairs makes of a pair whose answers are exchanged.

A gap turns its sign: h(y_l, y_w) = -h(y_w, y_l). Every margin of every preset is a gap, or of one of
the kinds below, each with the law that it obeys instead:

- ranks (AOT): the gaps are sorted, so that -h stands in the opposite order;
- penalty (DPOP): the chosen answer alone pays for being below its reference;
- anchor (SePPO): the sign of u_w says which way the rejected answer is to go;
- one answer: h reads the chosen answer, or the rejected one, and never the other;
- step: as one answer, less a shift of the whole step, in which both answers count alike;
- both: of the gold answer, or of both alike; which one is chosen makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from collimate import methods
from collimate._types import PairLogProbs
from collimate.compose import Method, Summand
from tests.methods.test_published_equations import numbers_of, view_of

Read = Callable[[PairLogProbs], Tensor]


def turned() -> PairLogProbs:
    """`pairs()` with the answers of each pair exchanged, tokens and lengths too; gold as it is."""
    policy, reference, lengths, margin, signals = numbers_of()
    owner = torch.arange(len(lengths)).repeat_interleave(lengths)
    order = torch.argsort(owner ^ 1, stable=True)
    return view_of(
        policy[order],
        reference[order],
        lengths.view(-1, 2).flip(1).flatten(),
        margin,
        {name: signal[order] for name, signal in signals.items()},
    )


def straight() -> PairLogProbs:
    return view_of(*numbers_of())


def require(got: Tensor, want: Tensor) -> None:
    assert_close(got, want, rtol=1e-12, atol=1e-13)


def a_gap(h: Read) -> None:
    require(h(turned()), -h(straight()))


def ranks(h: Read) -> None:
    require(h(turned()), -h(straight()).flip(0))


def penalty(h: Read) -> None:
    """h + h' = -lam·(max(0, -u_w) + max(0, -u_l)), lam = 50."""
    chosen, rejected = straight().log_ratios()
    require(h(straight()) + h(turned()), -50 * ((-chosen).relu() + (-rejected).relu()))


def anchor(h: Read) -> None:
    """h = u_w - s·u_l and h' = u_l - s'·u_w: a gap where both rose, their sum where both fell."""
    chosen, rejected = straight().log_ratios()
    here, there = h(straight()), h(turned())
    rose, fell = (chosen > 0) & (rejected > 0), (chosen < 0) & (rejected < 0)
    assert rose.any()
    assert fell.any()
    require(there[rose], -here[rose])
    require(there[fell], here[fell])


def one_answer(h: Read) -> None:
    """Of the two answers h moves with one, which the exchange replaces."""
    view = straight()
    chosen, rejected = moved(h, view)
    assert chosen != rejected
    assert not torch.allclose(h(turned()), h(view))


def step(h: Read) -> None:
    """A pair's h moves with one answer; through the shift with the mean of all, both answers alike."""
    view = straight()
    chosen, rejected = view.log_ratios()
    shift = (chosen.mean() + rejected.mean()) / 2
    kinds = {1: chosen - shift, -1: shift - rejected}
    (sign,) = (s for s, value in kinds.items() if torch.allclose(h(view), value, rtol=1e-9))
    require(h(turned()), rejected - shift if sign == 1 else shift - chosen)


def both(h: Read) -> None:
    require(h(turned()), h(straight()))


def moved(h: Read, view: PairLogProbs) -> tuple[bool, bool]:
    """Whether h changes with the chosen, and with the rejected answer's log-prob."""
    chosen, rejected = (view.policy_chosen.clone(), view.policy_rejected.clone())
    at = replace(
        view, policy_chosen=chosen.requires_grad_(), policy_rejected=rejected.requires_grad_()
    )
    slopes = torch.autograd.grad(h(at).sum(), (chosen, rejected), allow_unused=True)
    found = [slope is not None and bool((slope != 0).any()) for slope in slopes]
    return found[0], found[1]


LAWS: dict[str, Callable[[Read], None]] = {
    "sorted_gap": ranks,
    "penalised": penalty,
    "anchored": anchor,
    "chosen_shifted": step,
    "rejected_shifted": step,
    "gold": both,
    "absent_mask": both,
    "chosen": one_answer,
    "rejected": one_answer,
    "log_coverage": one_answer,
}
"""By the beginning of a margin's name; any other is a gap."""


def law_of(name: str) -> Callable[[Read], None]:
    return next((law for start, law in LAWS.items() if name.startswith(start)), a_gap)


def summands() -> list[Any]:
    """Every margin of every preset of pairs."""
    made = [getattr(methods, name)() for name in sorted(methods.__all__)]
    return [
        pytest.param(method, summand, id=f"{method.name}-{summand.name}")
        for method in made
        if method.needs.view == "pairs"
        for summand in method.summands
    ]


@pytest.mark.parametrize(("method", "summand"), summands())
def test_a_margin_obeys_the_law_of_its_kind(method: Method, summand: Summand) -> None:
    law = law_of(summand.margin.name)
    law(lambda view: summand.margin(view, divergence=method.divergence))
    assert summand.margin.compares == (law in (a_gap, ranks, penalty))


def test_a_penalty_of_the_rejected_answers_regret_turns_no_sign() -> None:
    """CPL at lam < 1 counts the rejected answer for less, and is no gap: at lam = 1 it is one."""
    for lam, is_gap in ((1.0, True), (0.5, False)):
        margin = methods.cpl(lam=lam).margin
        here, there = (
            margin(v, divergence=methods.cpl().divergence) for v in (straight(), turned())
        )
        assert torch.allclose(there, -here) == is_gap


def test_every_kind_is_that_of_some_preset() -> None:
    found = {law_of(case.values[1].margin.name) for case in summands()}
    assert found == {*LAWS.values(), a_gap}
