"""chowdhury:24: a log-linear policy learns from flipped labels at the rate n^-½ with rDPO only."""

import math

import pytest
import torch

from collimate import methods
from collimate._types import PairLogProbs

FEATURES, POOL, REPEATS, FLIPS = 4, 100, 16, 0.3
SIZES = (1000, 4000, 16000)
BALL = 3.0  # rDPO's loss has no minimum outside a bounded class
TRUTH = 1.5  # length of the true parameter


def errors(method, n, seed=0, steps=30):
    """|θ - θ*| of `REPEATS` fits to n pairs each, their labels flipped with probability `FLIPS`."""
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(POOL, FEATURES, dtype=torch.float64, generator=generator)
    truth = torch.randn(FEATURES, dtype=torch.float64, generator=generator)
    truth = TRUTH * truth / truth.norm()
    first = torch.randint(POOL, (REPEATS, n), generator=generator)
    second = (first + torch.randint(1, POOL, (REPEATS, n), generator=generator)) % POOL
    wins = torch.sigmoid((pool[first] - pool[second]) @ truth)
    wins = FLIPS + (1 - 2 * FLIPS) * wins
    won = torch.rand(REPEATS, n, dtype=torch.float64, generator=generator) < wins
    chosen, rejected = torch.where(won, first, second), torch.where(won, second, first)
    reference = torch.full((REPEATS * n,), -math.log(POOL), dtype=torch.float64)
    theta = torch.zeros(REPEATS, FEATURES, dtype=torch.float64)
    for _ in range(steps):
        theta.requires_grad_()
        log_p = (theta @ pool.T).log_softmax(-1)
        view = PairLogProbs(
            policy_chosen=log_p.gather(1, chosen).flatten(),
            policy_rejected=log_p.gather(1, rejected).flatten(),
            reference_chosen=reference,
            reference_rejected=reference,
        )
        (slope,) = torch.autograd.grad(method(view).sum() / n, theta)
        theta = (theta - 1.5 * slope).detach()  # the curvature is at most 2/4 along a feature
        theta = theta * (BALL / theta.norm(dim=-1, keepdim=True)).clamp(max=1)
    return (theta - truth).norm(dim=-1)


@pytest.fixture(scope="module")
def measured():
    loss = {
        "rdpo": methods.rdpo(1.0, FLIPS),
        "dpo": methods.dpo(1.0),
        "cdpo": methods.cdpo(1.0, FLIPS),
    }
    return {name: [errors(method, n).mean().item() for n in SIZES] for name, method in loss.items()}


def test_rdpo_errs_by_one_over_root_n(measured):
    error = measured["rdpo"]  # measured 0.70, 0.26, 0.14
    slope = math.log(error[-1] / error[0]) / math.log(SIZES[-1] / SIZES[0])
    assert -0.7 < slope < -0.4, error  # measured -0.59, of four seeds -0.49 to -0.64
    assert error[-1] < 0.2


@pytest.mark.parametrize(("name", "plateau"), [("dpo", 1.14), ("cdpo", 1.36)])
def test_the_others_stay_where_they_are(name, plateau, measured):
    """The flips' own bias, which no data remove; smoothing adds to it."""
    assert measured[name] == pytest.approx([plateau] * len(SIZES), rel=0.05)
    assert measured[name][-1] > 5 * measured["rdpo"][-1]
