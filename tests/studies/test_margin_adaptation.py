"""rho:25: MADPO spreads hard pairs and pulls easy ones together."""

import torch

from collimate import methods
from collimate._types import PairLogProbs


def margins_of(method, beta=0.5, pairs=400):
    """beta·h of hard and of easy pairs, after a fit of a linear implicit reward to exact labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, pairs, 6, dtype=torch.float64, generator=generator)
    x[0, :, 3:] *= 0.2  # hard pairs differ mostly in what matters little
    x[1, :, :3] *= 0.2
    truth = torch.tensor([0.3, -0.2, 0.1, 3.0, -2.0, 2.5], dtype=torch.float64)
    x = x * (x @ truth).sign()[..., None]  # the better answer first
    gap = (x @ truth).flatten()
    label = torch.cat([torch.sigmoid(gap), torch.sigmoid(-gap)])
    theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        h = (x @ theta).flatten()
        both = torch.cat([h, -h])
        zero = torch.zeros_like(both)
        view = PairLogProbs(
            policy_chosen=both,
            policy_rejected=zero,
            reference_chosen=zero,
            reference_rejected=zero,
            columns={"margin": torch.cat([gap, -gap])},
        )
        loss = (label * method(view)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    hard, easy = (beta * x @ theta.detach()).mean(-1).tolist()
    return hard, easy


def test_margins_of_hard_pairs_rise_and_of_easy_pairs_fall():
    dpo = margins_of(methods.dpo(0.5))
    madpo = margins_of(methods.madpo(0.5, 2.0, 1.0, 3.0))
    print(dpo, madpo)
    assert madpo[0] > 1.1 * dpo[0]
    assert madpo[1] < 0.9 * dpo[1]
