"""How alike the two answers of a pair are to the model, from states that a step computes anyway."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import Example
from collimate.diagnostics import ches_from_sums, hidden_sums
from collimate.engine.packing import token_weights


def pair_similarity(
    hidden: Float[Tensor, "token dim"], examples: Sequence[Example]
) -> Float[Tensor, "example 2"]:
    """CHES of each example's first two answers, and its length-normalised form; in float64.

    hidden: where each answer token of the examples is predicted, one after the other. Tokens of
    weight 0 (another speaker's turns) are left out. Costs one sum over the hidden states: nothing
    beside the pass that computed them. Source: razin:25.
    """
    if hidden.device.type == "mps":  # which has no float64
        hidden = hidden.cpu()
    answers = [answer for example in examples for answer in example.answers]
    counts = torch.tensor([len(example.answers) for example in examples])
    chosen = (counts.cumsum(0) - counts).to(hidden.device)
    owner = np.repeat(np.arange(len(answers)), [len(answer.ids) for answer in answers])
    kept = np.flatnonzero(np.concatenate([token_weights(answer) for answer in answers]))
    if len(kept) < len(owner):
        hidden = hidden[torch.from_numpy(kept).to(hidden.device)]
    sums = hidden_sums(hidden, torch.from_numpy(owner[kept]).to(hidden.device), len(answers))
    tokens = torch.from_numpy(np.bincount(owner[kept], minlength=len(answers))).to(hidden.device)
    means = sums / tokens[:, None]
    return torch.stack([ches_from_sums(x[chosen], x[chosen + 1]) for x in (sums, means)], dim=1)
