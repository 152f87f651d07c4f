"""hejna:24: preferences by regret give the optimal policy of a decision process, without rewards."""

import pytest
import torch

from collimate import methods
from collimate._types import PairLogProbs, TokenLogProbs

STATES, ACTIONS, ALPHA, GAMMA = 3, 3, 0.5, 0.9


def segments():
    """Every segment of two steps, as places in the flattened table [state, action]."""
    steps = torch.arange(STATES * ACTIONS)
    return torch.cartesian_prod(steps, steps)


def policy_of(seed):
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(STATES, ACTIONS, dtype=torch.float64, generator=generator)
    return table.log_softmax(-1)


def fitted(optimal, lam):
    """The policy at the minimum of CPL's loss over all pairs of segments.

    A segment's regret is minus the discounted sum of its advantages, which are alpha·log p* of the
    policy that is optimal with an entropy bonus alpha.
    """
    every = segments()
    n = len(every)
    first, second = torch.cartesian_prod(torch.arange(n), torch.arange(n)).unbind(-1)
    discount = torch.tensor([1.0, GAMMA], dtype=torch.float64)
    value = ALPHA * (optimal.flatten()[every] * discount).sum(-1)
    weight = torch.sigmoid(value[first] - value[second]) / n**2
    steps = torch.stack([every[first], every[second]], 1).flatten()  # chosen, rejected, two tokens
    sequence = torch.arange(2 * n * n).repeat_interleave(2)
    method = methods.cpl(ALPHA, GAMMA, lam)
    logits = torch.zeros(STATES, ACTIONS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=200, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        log_p = logits.log_softmax(-1).flatten()[steps]
        sums = log_p.view(-1, 2, 2).sum(-1)
        tokens = TokenLogProbs(
            log_prob=log_p,
            reference=None,
            weight=torch.ones_like(log_p),
            sequence=sequence,
            example=torch.arange(n * n).repeat_interleave(2),
        )
        view = PairLogProbs(policy_chosen=sums[:, 0], policy_rejected=sums[:, 1], tokens=tokens)
        loss = (weight * method(view)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return logits.detach().log_softmax(-1)


def miss(optimal, found):
    """The largest KL(p*‖p) of a state."""
    return (optimal.exp() * (optimal - found)).sum(-1).max().item()


@pytest.mark.parametrize("seed", range(2))
def test_the_optimal_policy_is_found_and_the_conservative_bias_is_one(seed):
    optimal = policy_of(seed)
    assert miss(optimal, fitted(optimal, 1.0)) < 1e-10  # measured 1e-16
    assert miss(optimal, fitted(optimal, 0.5)) > 0.05  # measured 0.13 and 0.08
