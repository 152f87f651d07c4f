"""Log-ratio gaps in which a mask says how much each token's reward and divergence count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs, TokenLogProbs
from collimate.axes import Divergence, Needs, Signal
from collimate.margins.margin import Margin
from collimate.margins.token_sums import token_signal, tokens_of


@dataclass(frozen=True, slots=True)
class TokenMask:
    """How much each token counts: a signal, at least 0.

    formula: it as text, in the symbols that `collimate.explain` names.
    """

    signal: Signal
    formula: str

    def __call__(self, tokens: TokenLogProbs) -> Float[Tensor, " token"]:
        """One number per token. BadComposition without the signal."""
        return token_signal(tokens, self.signal)


def _gap(
    view: PairLogProbs,
    divergence: Divergence,
    *,
    along: Signal,
    reward: TokenMask,
    penalty: TokenMask,
) -> Float[Tensor, " pair"]:
    tokens = tokens_of(view)
    if tokens.reference is None:
        view.log_ratios()  # says what is missing
        raise BadComposition("the view's tokens carry no reference log-probs")
    ratio = tokens.log_prob - tokens.reference
    diverged = token_signal(tokens, along)
    counted = tokens.sums(reward(tokens) * ratio + penalty(tokens) * diverged)
    chosen, rejected = counted.view(-1, 2).T
    return chosen - rejected


def _facts(
    view: PairLogProbs, divergence: Divergence, *, masks: tuple[TokenMask, ...]
) -> dict[str, Tensor]:
    tokens = tokens_of(view)
    counts = tokens.sums(tokens.log_prob.new_ones(len(tokens.log_prob))).view(-1, 2).sum(1)
    return {
        f"{mask.signal.name}_zero": (
            tokens.sums((mask(tokens) == 0).to(tokens.log_prob.dtype)).view(-1, 2).sum(1) / counts
        )
        for mask in masks
    }


def masked_log_ratio_gap(along: Signal, reward: TokenMask, penalty: TokenMask) -> Margin:
    """h = Σ_w (m·u + k·d) - Σ_l (m·u + k·d) over tokens: m, k the masks, d the signal `along`.

    With u the log-ratio and d = KL(q‖p) over the vocabulary at each token (nats), and both masks 1, it
    is the gap of TDPO1. Logs the share of tokens that each mask leaves out.

    Errors: BadComposition without tokens, or the signals. Source: christopoulou:25.

    >>> from collimate import divergences, signals, token_masks
    >>> mask = TokenMask(token_masks.sparse_mask("mask"), "m_i")
    >>> kl = signals.divergence_to_reference(divergences.forward_kl)
    >>> masked_log_ratio_gap(kl, mask, mask).name
    'masked_log_ratio_gap(forward_kl_to_reference, mask, mask)'
    """
    masks = tuple(dict.fromkeys((reward, penalty)))
    one = f"{reward.formula}·u_i + {penalty.formula}·d_i"
    return Margin(
        name=f"masked_log_ratio_gap({along.name}, {reward.signal.name}, {penalty.signal.name})",
        value=partial(_gap, along=along, reward=reward, penalty=penalty),
        needs=Needs(
            view="pairs",
            reference=True,
            signals=tuple(dict.fromkeys((along, *(mask.signal for mask in masks)))),
        ),
        facts=partial(_facts, masks=masks),
        formula=f"sum_w({one}) - sum_l({one})",
        source="christopoulou:25",
    )


def _absent(
    view: PairLogProbs, divergence: Divergence, *, masks: tuple[TokenMask, ...]
) -> Float[Tensor, " pair"]:
    tokens = tokens_of(view)
    mass = torch.stack([mask(tokens) for mask in masks]).sum(0)
    return -tokens.sums(mass).view(-1, 2).sum(1)


def absent_mask(*masks: TokenMask) -> Margin:
    """h = -Σ (masks) over the tokens of both answers: how little they let through, at most 0.

    The loss `negation` of it is the L1 norm of masks that are never negative.

    Errors: BadComposition without tokens, or the signals. Source: christopoulou:25.

    >>> from collimate.token_masks import sparse_mask
    >>> absent_mask(TokenMask(sparse_mask("mask"), "m_i")).name
    'absent_mask(mask)'
    """
    one = " + ".join(mask.formula for mask in masks)
    return Margin(
        name=f"absent_mask({', '.join(mask.signal.name for mask in masks)})",
        value=partial(_absent, masks=masks),
        needs=Needs(view="pairs", reference=True, signals=tuple(mask.signal for mask in masks)),
        compares=False,
        formula=f"-sum_w({one}) - sum_l({one})",
        source="christopoulou:25",
    )
