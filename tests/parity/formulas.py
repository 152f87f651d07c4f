"""What TRL computes where no preset here does, as functions of a step; and relations between losses.

Each returns the loss of the step, a mean over its micro-batches where TRL's depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from collimate import distributions, divergences, losses, margins, methods
from collimate._types import Example, Role
from collimate.compose import Method, Objective, Part
from tests.parity.sides import Step, tokens_of

Formula = Callable[[Step], Tensor]
Slope = Callable[[Tensor], Tensor]
"""f' as a function of u = log t."""
OfBoth = Callable[[Tensor, Tensor], Tensor]
"""Of u_w and u_l."""

_NAMES = {
    "Objective": Objective,
    "Part": Part,
    "distributions": distributions,
    "divergences": divergences,
    "losses": losses,
    "margins": margins,
    "methods": methods,
    "replace": replace,
}


def made(code: str) -> Method | Objective:
    """The method that a cell of the table writes down."""
    return eval(code, dict(_NAMES))


def of(code: str) -> Formula:
    """Another method of ours."""
    return lambda step: step.value(made(code))


def plus(code: str, constant: float) -> Formula:
    """A method of ours and a constant."""
    return lambda step: step.value(made(code)) + constant


def swapped(code: str) -> Formula:
    """A method of ours on pairs whose answers have changed places."""

    def value(step: Step) -> Tensor:
        turned = [replace(one, answers=one.answers[::-1]) for one in step.examples]
        return step.of(*turned).value(made(code))

    return value


def each(formula: Formula, count: int = 2) -> Formula:
    """The mean over equal micro-batches: what gradient accumulation makes of a coupled loss."""
    return lambda step: torch.stack([formula(part) for part in step.parts(count)]).mean()


def rotated(formula: Formula) -> Formula:
    """With the mismatched answers that TRL's KTO takes, in one micro-batch."""
    return lambda step: formula(step.rotated(1))


def nll_per_token(step: Step) -> Tensor:
    """-Σ log p(y_w)/Σ|y_w|, the mean over all chosen tokens of the batch."""
    return -step.pairs.policy_chosen.sum() / counts(step)[0].sum()


def counts(step: Step) -> tuple[Tensor, Tensor]:
    """|y_w| and |y_l|."""
    pairs = step.pairs
    assert pairs.chosen_tokens is not None
    assert pairs.rejected_tokens is not None
    return pairs.chosen_tokens, pairs.rejected_tokens


def total(*weighted: tuple[float, Formula]) -> Formula:
    """Σ weight·formula."""
    return lambda step: torch.stack([c * formula(step) for c, formula in weighted]).sum()


def term(code: str, name: str) -> Formula:
    """One term of a method of ours, without its coefficient."""

    def value(step: Step) -> Tensor:
        method = made(code)
        assert not isinstance(method, Objective)
        return method.terms(step.pairs, method.init())[name].values.mean()

    return value


def nll_with_prompt(step: Step) -> Tensor:
    """The mean of -log p over the tokens of prompt and chosen answer, all but the first."""
    rows = []
    for one in step.examples:
        ids = torch.cat([torch.as_tensor(one.prompt), torch.as_tensor(one.answers[0].ids)]).numpy()
        answer = replace(one.answers[0], ids=ids[1:])
        rows.append(Example(prompt=ids[:1], answers=(answer,), row=one.row))
    return -tokens_of(step.policy, rows).mean()


def forward_slope(u: Tensor) -> Tensor:
    """f' = 1 - 1/t of the forward KL, at t = e^u."""
    return 1 - (-u).exp()


def alpha_slope(coefficient: float) -> Slope:
    """TRL's f' = (t^(a-1) - 1)/(a-1), its exponent held at 80."""
    c = coefficient - 1
    return lambda u: ((c * u).clamp(max=80.0).exp() - 1) / c


def identity(u: Tensor) -> Tensor:
    """f' of the reverse KL, but for a constant, at log-ratio u."""
    return u


def of_gap(loss: Callable[[Tensor], Tensor], slope: Slope = identity) -> OfBoth:
    """loss(f'(u_w) - f'(u_l))."""
    return lambda chosen, rejected: loss(slope(chosen) - slope(rejected))


def whole(loss: OfBoth) -> Formula:
    """loss(u_w, u_l) of whole answers."""
    return lambda step: loss(*step.pairs.log_ratios()).mean()


def per_token(loss: Callable[[Tensor], Tensor], slope: Slope = identity) -> Formula:
    """loss(f'(u_w)/|y_w| - f'(u_l)/|y_l|)."""

    def value(step: Step) -> Tensor:
        chosen, rejected = map(slope, step.pairs.log_ratios())
        lengths = counts(step)
        return loss(chosen / lengths[0] - rejected / lengths[1]).mean()

    return value


def ipo_of(beta: float) -> Callable[[Tensor], Tensor]:
    """(h - 1/(2·beta))²."""
    return lambda h: (h - 1 / (2 * beta)).square()


def logistic_of(beta: float) -> Callable[[Tensor], Tensor]:
    """-log sigmoid(beta·h)."""
    return lambda h: -logsigmoid(beta * h)


def desensitised(a: float, loss: OfBoth) -> Formula:
    """loss(u_w, u_l), in which tokens beyond the shorter answer's length count a times."""

    def value(step: Step) -> Tensor:
        sums = []
        sizes = [len(answer.ids) for one in step.examples for answer in one.answers]
        ratios = (step.log_prob - step.held).split(sizes)
        for chosen, rejected in zip(ratios[0::2], ratios[1::2], strict=True):
            shorter = min(len(chosen), len(rejected))
            sums.append([y[:shorter].sum() + a * y[shorter:].sum() for y in (chosen, rejected)])
        chosen, rejected = (torch.stack(side) for side in zip(*sums, strict=True))
        return loss(chosen, rejected).mean()

    return value


def apo_zero(beta: float) -> OfBoth:
    """1 - sigmoid(beta·u_w) + sigmoid(beta·u_l)."""
    return lambda chosen, rejected: torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)


def discopop(beta: float, tau: float) -> OfBoth:
    """(1 - m)·(-log sigmoid(z)) + m·e^-z, m = sigmoid(z/tau), z = beta·(u_w - u_l)."""

    def of_z(h: Tensor) -> Tensor:
        z = beta * h
        m = torch.sigmoid(z / tau)
        return (1 - m) * softplus(-z) + m * (-z).exp()

    return of_gap(of_z)


def bent_whole(beta: float, a: float) -> Formula:
    """-log sigmoid(beta·(R_w - R_l)), R = (1 - p(y)^-a)/a of the whole answer."""

    def value(step: Step) -> Tensor:
        chosen, rejected = (
            (1 - (-a * x).exp()) / a for x in (step.pairs.policy_chosen, step.pairs.policy_rejected)
        )
        return -logsigmoid(beta * (chosen - rejected)).mean()

    return value


def wpo(beta: float) -> Formula:
    """DPO's loss times w(y_w)·w(y_l), w = exp mean_t [log p(y_t) - log Σ_v p(v)²], no gradient."""

    def value(step: Step) -> Tensor:
        chosen, rejected = step.pairs.log_ratios()
        aligned = step.batch.sums(step.log_prob - log_sum_squares(step.policy, step.examples))
        weight = (aligned / step.batch.token_counts()).exp().view(-1, 2).prod(1).detach()
        return (weight * -logsigmoid(beta * (chosen - rejected))).mean()

    return value


def log_sum_squares(policy: nn.Module, examples: Sequence[Example]) -> Tensor:
    """log Σ_v p(v)² where each answer token is predicted, by the model's own logits."""
    found = []
    for one in examples:
        for answer in one.answers:
            ids = torch.cat([torch.as_tensor(one.prompt), torch.as_tensor(answer.ids)])
            logits = policy(input_ids=ids[None], use_cache=False).logits[0]
            log_p = logits[len(one.prompt) - 1 : -1].log_softmax(-1)
            found.append((2 * log_p).logsumexp(-1))
    return torch.cat(found)


def with_gold(alpha: float, code: str) -> Formula:
    """TPO: the first term of a method of ours, and alpha times the gold answers' mean per token."""
    return total((1.0, term(code, "loss")), (alpha, each(nll_of_gold)))


def nll_of_gold(step: Step) -> Tensor:
    """-Σ log p/Σ|y| over the gold answers."""
    batch = step.batch
    gold = batch.role == Role.GOLD
    return -batch.sums(batch.log_prob)[gold].sum() / batch.token_counts()[gold].sum()
