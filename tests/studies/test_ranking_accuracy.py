"""chen:24b on a table: DPO separates log-ratios long before it ranks answers."""

import torch

from collimate import methods
from collimate._types import PairLogProbs
from collimate.diagnostics import (
    displacement,
    flip_loss,
    idealised_accuracy,
    ranking_accuracy,
    where_the_mass_went,
)


def trained(steps, beta=0.1, pairs=2000, rate=30.0):
    """Each pair with two answers of its own, reference gaps of standard deviation 3, all labels alike."""
    generator = torch.Generator().manual_seed(0)
    gap = 3 * torch.randn(pairs, dtype=torch.float64, generator=generator)
    reference = torch.stack([gap, torch.zeros_like(gap)], -1).log_softmax(-1)
    scores = reference.clone()

    def view():
        log_p = scores.log_softmax(-1)
        return PairLogProbs(
            policy_chosen=log_p[:, 0],
            policy_rejected=log_p[:, 1],
            reference_chosen=reference[:, 0],
            reference_rejected=reference[:, 1],
        )

    method = methods.dpo(beta)
    for _ in range(steps):
        scores.requires_grad_()
        (slope,) = torch.autograd.grad(method(view()).sum(), scores)
        scores = (scores - rate * slope).detach()
    return view(), method(view())


def test_all_rewards_are_ranked_while_half_of_the_answers_are():
    """Measured after 1, 5, 20, 80 small steps: rewards 1.0, ranking 0.52, 0.58, 0.75, 0.99."""
    found = [ranking_accuracy(trained(steps, rate=1.0)[0]) for steps in (1, 5, 20, 80)]
    assert all((x["reward_accuracy"] == 1).all() for x in found)
    ranking = [x["likelihood_accuracy"].mean().item() for x in found]
    assert ranking == sorted(ranking)
    assert ranking[0] < 0.55
    assert 0.7 < ranking[2] < 0.8
    assert ranking[3] > 0.9  # unanimous labels: in the end every pair turns


def test_the_loss_tells_every_flip():
    for steps in (1, 2, 4, 8):
        view, loss = trained(steps)
        threshold = flip_loss(view.reference_chosen, view.reference_rejected, 0.1)
        assert ((loss <= threshold) == (view.policy_chosen > view.policy_rejected)).all()


def test_the_idealised_accuracy_is_what_was_assumed_of_the_raters():
    """The same pairs: 0.50 if raters are split, 0.78 at three in four and beta 0.5, 1 if unanimous."""
    view, _ = trained(0)
    found = [
        idealised_accuracy(view.reference_chosen, view.reference_rejected, 0.5, a).mean().item()
        for a in (0.5, 0.75, 1.0)
    ]
    assert 0.45 < found[0] < 0.55
    assert 0.7 < found[1] < 0.82
    assert found[2] == 1


def test_yes_no_never_mass_goes_where_nobody_pointed():
    """razin:25: No over Never with a frozen unembedding in which Yes opposes Never.

    Measured: P(No) 0.45 to 0.00, P(Yes) 0.10 to 1.00.
    """
    unembedding = torch.tensor([[1.0, 0.1], [1.0, 1.2], [-1.0, -4.0]], dtype=torch.float64)
    wanted = torch.tensor([0.45, 0.45, 0.1], dtype=torch.float64).log()
    h = torch.linalg.solve(unembedding[:2] - unembedding[2], wanted[:2] - wanted[2])
    start = (unembedding @ h).log_softmax(-1)
    no, never = torch.tensor([[[True, False, False]], [[False, True, False]]])

    def view(log_p):
        return PairLogProbs(
            policy_chosen=log_p[:1],
            policy_rejected=log_p[1:2],
            reference_chosen=start[:1],
            reference_rejected=start[1:2],
        )

    for _ in range(100):
        h.requires_grad_()
        loss = methods.dpo(0.1)(view((unembedding @ h).log_softmax(-1))).sum()
        (slope,) = torch.autograd.grad(loss, h)
        h = (h - 5 * slope).detach()
    end = (unembedding @ h).log_softmax(-1)
    moved = displacement(view(start), view(end))
    assert moved.gap.item() > 5
    assert moved.both_fell == 1
    mass = where_the_mass_went(start[None], end[None], no, never)
    assert end[0].exp() < 0.01
    assert mass.other.item() > 0.8
