"""What a step says of each of its pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Example, PairLogProbs
from collimate.compose import Objective
from collimate.engine.objective import view_of
from collimate.engine.step import StepOutcome


def pair_figures(
    objective: Objective, outcome: StepOutcome, *, starts_at_reference: bool
) -> Mapping[str, Float[np.ndarray, " pair"]]:
    """Columns of `pair_table`, those that are known, of an objective whose methods read pairs.

    loss: Σ coefficient·values over parts and terms. margin: beta·h of the first part, where it
    compares. start_*: log-probs under the reference where the policy began as it, else the step's
    own. Nats.
    """
    columns: dict[str, Tensor] = {}
    loss: Tensor | float = 0.0
    view: PairLogProbs | None = None
    for part, state in zip(objective.parts, outcome.states, strict=True):
        read = view_of(outcome.batch, part.method.needs)
        assert isinstance(read, PairLogProbs)
        for term in part.method.terms(read, state).values():
            loss = loss + part.coefficient * term.coefficient * term.values
        if view is None:
            view = read
            margin = part.method.measure(read, state).get("reward_gap")
            columns |= {} if margin is None else {"margin": margin}
    assert view is not None
    start = view.policy_chosen, view.policy_rejected
    if view.reference_chosen is not None and view.reference_rejected is not None:
        ratios = view.log_ratios()
        columns |= dict(zip(("log_ratio_chosen", "log_ratio_rejected"), ratios, strict=True))
        start = view.reference() if starts_at_reference else start
    columns |= {
        "loss": torch.as_tensor(loss),
        "log_prob_chosen": view.policy_chosen,
        "log_prob_rejected": view.policy_rejected,
        "start_log_prob_chosen": start[0],
        "start_log_prob_rejected": start[1],
    }
    if outcome.similarity is not None:
        ches, normalised = outcome.similarity.unbind(1)
        columns |= {"ches": ches, "ches_length_normalised": normalised}
    stacked = torch.stack([value.detach().cpu().double() for value in columns.values()])
    return dict(zip(columns, stacked.numpy(), strict=True))


def token_values(
    outcome: StepOutcome, examples: Sequence[Example]
) -> list[Float[np.ndarray, " _"]]:
    """Of each pair, the log-ratios (log-probs without a reference) of its two answers' tokens."""
    batch = outcome.batch
    values = batch.log_prob if batch.reference is None else batch.log_prob - batch.reference
    flat = values.float().cpu().numpy()
    ends = np.cumsum([example.answer_tokens for example in examples])
    return [
        own[: sum(len(answer.ids) for answer in example.answers[:2])]
        for own, example in zip(np.split(flat, ends[:-1]), examples, strict=True)
    ]
