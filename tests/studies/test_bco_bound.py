"""jung:25: the binary classifier's loss is above DPO's, and its shift brings them together."""

import math

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._types import PairLogProbs

BETA = 0.1


def random_rewards(count=100_000, level=10.0, seed=0):
    """Implicit rewards of pairs of one prompt, whose common level differs from prompt to prompt."""
    generator = torch.Generator().manual_seed(seed)
    common = level * torch.randn(count, dtype=torch.float64, generator=generator)
    return common + torch.randn(2, count, dtype=torch.float64, generator=generator)


def losses(chosen, rejected, shift):
    """(bco_pair, DPO) at rewards r - shift: a shift of the reward is one of the reference."""
    zero = torch.zeros_like(chosen)
    view = PairLogProbs(
        policy_chosen=chosen / BETA,
        policy_rejected=rejected / BETA,
        reference_chosen=zero + shift / BETA,
        reference_rejected=zero + shift / BETA,
    )
    return methods.bco_pair(BETA)(view), methods.dpo(BETA)(view)


@pytest.mark.parametrize("level", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("shift", [0.0, -3.0, 7.0])
def test_it_bounds_dpo_from_above_whatever_the_shift(shift, level):
    chosen, rejected = random_rewards(level=level)
    bce, dpo = losses(chosen, rejected, shift)
    assert (bce > dpo).all()


def test_the_gap_is_least_at_the_mean_of_the_pair():
    """There 2·L(h/2) - L(h) is at most log 2, of equal rewards."""
    chosen, rejected = random_rewards()
    gap = {}
    for away in (-1.0, 0.0, 1.0):
        bce, dpo = losses(chosen, rejected, (chosen + rejected) / 2 + away)
        gap[away] = bce - dpo
    assert (gap[0.0] < gap[-1.0]).all()
    assert (gap[0.0] < gap[1.0]).all()
    assert gap[0.0].max() <= math.log(2) + 1e-12
    assert_close(gap[-1.0], gap[1.0], rtol=1e-9, atol=1e-12)


def test_the_mean_reward_as_shift_closes_most_of_the_gap():
    """Rewards about 5: measured a mean gap of 0.90 with the shift and 4.13 without."""
    chosen, rejected = (reward + 5 for reward in random_rewards(level=1.0))
    shift = (chosen.mean() + rejected.mean()).item() / 2
    gap = []
    for delta in (shift, 0.0):
        bce, dpo = losses(chosen, rejected, delta)
        gap.append((bce - dpo).mean().item())
    assert gap[0] < gap[1] / 3, gap
