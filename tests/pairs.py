"""What tests do with a view of pairs."""

from __future__ import annotations

from dataclasses import replace

from collimate._types import PairLogProbs


def swapped(view: PairLogProbs) -> PairLogProbs:
    """The same pairs with their answers in each other's place, but for what the data say of them."""
    return replace(
        view,
        policy_chosen=view.policy_rejected,
        policy_rejected=view.policy_chosen,
        reference_chosen=view.reference_rejected,
        reference_rejected=view.reference_chosen,
        chosen_tokens=view.rejected_tokens,
        rejected_tokens=view.chosen_tokens,
    )
