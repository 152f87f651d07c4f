"""What margins of pairs read from a view."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadComposition
from collimate._types import PairLogProbs


def lengths(view: PairLogProbs) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Answer tokens of the chosen and the rejected answers. BadComposition without them, or at 0."""
    if view.chosen_tokens is None or view.rejected_tokens is None:
        raise BadComposition(
            "this method reads lengths, but the view has no chosen_tokens and rejected_tokens: give "
            "both, or use a method of whole answers"
        )
    like = view.policy_chosen
    chosen, rejected = view.chosen_tokens.to(like.dtype), view.rejected_tokens.to(like.dtype)
    if (chosen < 1).any() or (rejected < 1).any():
        raise BadComposition(
            "this method divides by lengths, and an answer has no token that counts: leave such "
            "rows out"
        )
    return chosen, rejected


def mean_log_probs(view: PairLogProbs) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Log-prob per token of the chosen and the rejected answers under the policy."""
    chosen, rejected = lengths(view)
    return view.policy_chosen / chosen, view.policy_rejected / rejected


def column(view: PairLogProbs, name: str) -> Float[Tensor, " pair"]:
    """A column of the data. BadComposition, naming those there are, without it."""
    if name not in view.columns:
        raise BadComposition(
            f"this method reads the column '{name}', and the data's columns of numbers are: "
            f"{', '.join(view.columns) or 'none'}"
        )
    return view.columns[name].to(view.policy_chosen.dtype)
