"""Gaps of sums in which tokens weigh by their place."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition, BadConfig, within_closed
from collimate._types import PairLogProbs, TokenLogProbs
from collimate.axes import Divergence, Needs, Signal
from collimate.margins.margin import Margin


def tokens_of(view: PairLogProbs) -> TokenLogProbs:
    """The pairs token by token. BadComposition for a view of whole answers."""
    if view.tokens is None:
        raise BadComposition(
            "this method reads single tokens, and the view holds whole answers: give "
            "PairLogProbs.tokens, as the engine does"
        )
    return view.tokens


def token_signal(tokens: TokenLogProbs, signal: Signal) -> Float[Tensor, " token"]:
    """A signal of each token. BadComposition without it."""
    if signal.name not in tokens.signals:
        raise BadComposition(
            f"this method reads the signal '{signal.name}' of each token, and the view's tokens have "
            f"{', '.join(tokens.signals) or 'none'}: give it in TokenLogProbs.signals, as the engine does"
        )
    return tokens.signals[signal.name]


def signal_sums(
    view: PairLogProbs, signal: Signal
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """A signal summed over the chosen and over the rejected answers. BadComposition without it."""
    tokens = tokens_of(view)
    chosen, rejected = tokens.sums(token_signal(tokens, signal)).view(-1, 2).T
    return chosen, rejected


def _places(tokens: TokenLogProbs) -> tuple[Int[Tensor, " token"], Int[Tensor, " sequence"]]:
    """Each token's 0-based place in its sequence, and the sequences' lengths."""
    lengths = torch.bincount(tokens.sequence, minlength=len(tokens.example))
    first = lengths.cumsum(0) - lengths
    return torch.arange(len(tokens.sequence), device=first.device) - first[tokens.sequence], lengths


def _desensitised(
    view: PairLogProbs, divergence: Divergence, *, a: float
) -> Float[Tensor, " pair"]:
    tokens = tokens_of(view)
    if tokens.reference is None:
        view.log_ratios()  # says what is missing
        raise BadComposition("the view's tokens carry no reference log-probs")
    place, lengths = _places(tokens)
    shorter = lengths.view(-1, 2).min(1).values.repeat_interleave(2)
    beyond = place >= shorter[tokens.sequence]
    ratio = tokens.log_prob - tokens.reference
    ratio = torch.where(beyond, a * ratio, ratio)
    chosen, rejected = tokens.sums(ratio).view(-1, 2).T
    return chosen - rejected


def _discounted(
    view: PairLogProbs, divergence: Divergence, *, gamma: float, lam: float
) -> Float[Tensor, " pair"]:
    tokens = tokens_of(view)
    place, _ = _places(tokens)
    discount = torch.pow(gamma, place.to(tokens.log_prob.dtype))
    chosen, rejected = tokens.sums(discount * tokens.log_prob).view(-1, 2).T
    return chosen - lam * rejected


def length_desensitised_log_ratio_gap(a: float) -> Margin:
    """h = u_w - u_l, where tokens beyond the shorter answer's length count a times, a in [0, 1].

    a = 1 is the log-ratio gap, a = 0 compares what both have. Policy and reference alike, so that h is
    0 where they are equal.

    Errors: BadConfig outside [0, 1]; BadComposition without tokens. Source: liu:25.

    >>> length_desensitised_log_ratio_gap(0.5).name
    'length_desensitised_log_ratio_gap(0.5)'
    """
    tokens = f"where(i < min(n_w, n_l), 1, {a})·u_i"
    return Margin(
        name=f"length_desensitised_log_ratio_gap({within_closed('alpha', a, 0.0, 1.0):g})",
        value=partial(_desensitised, a=a),
        needs=Needs(view="pairs", reference=True),
        source="liu:25",
        formula=f"sum_w({tokens}) - sum_l({tokens})",
    )


def discounted_log_prob_gap(gamma: float, lam: float) -> Margin:
    """h = Σ_t gamma^t log p(y_w,t) - lam·Σ_t gamma^t log p(y_l,t), t = 0, 1, ...: no reference.

    gamma in (0, 1], lam in (0, 1]; lam < 1 is the conservative bias, on the rejected side.

    Errors: BadConfig outside the domains; BadComposition without tokens. Source: hejna:24.

    >>> discounted_log_prob_gap(1.0, 0.5).name
    'discounted_log_prob_gap(1, 0.5)'
    """
    for name, value in (("gamma", gamma), ("lam", lam)):
        if within_closed(name, value, 0.0, 1.0) == 0:
            raise BadConfig(f"{name} must be above 0")
    return Margin(
        name=f"discounted_log_prob_gap({gamma:g}, {lam:g})",
        value=partial(_discounted, gamma=gamma, lam=lam),
        needs=Needs(view="pairs", reference=False),
        source="hejna:24",
        formula=f"sum_w({gamma}^i·l_i) - {lam}·sum_l({gamma}^i·l_i)",
    )
