"""Pairs on which statements are weighed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from collimate._types import Batch, PairLogProbs

PairMaker = Callable[..., PairLogProbs]


@pytest.fixture
def pairs() -> PairMaker:
    """Made-up pairs, token by token: log-probs of answers from -0.001 to `deepest`, float64."""

    def make(count: int = 400, *, deepest: float = -30.0, seed: int = 0) -> PairLogProbs:
        generator = torch.Generator().manual_seed(seed)
        depth = torch.rand(2, 2 * count, dtype=torch.float64, generator=generator) ** 3
        lengths = torch.randint(2, 10, (2 * count,), generator=generator)
        sequence = torch.arange(2 * count).repeat_interleave(lengths)
        share = torch.rand(len(sequence), dtype=torch.float64, generator=generator) + 0.1
        share /= torch.zeros(2 * count).double().index_add(0, sequence, share)[sequence]
        policy, reference = (-1e-3 + depth * deepest)[:, sequence] * share
        unknown = torch.full((2 * count,), torch.nan)
        return Batch(
            sequence=sequence,
            example=torch.arange(count).repeat_interleave(2),
            label=unknown,
            score=unknown,
            role=torch.zeros_like(lengths),
            token_weight=torch.ones_like(policy),
            columns={},
            log_prob=policy,
            reference=reference,
        ).pairs()

    return make
