"""christopoulou:25: learned masks find the tokens that decide, and spare the rest (SparsePO).

A bigram language model in which what follows one token, the marker, decides which answer is
preferred; everything else in the answers is drawn alike. A mask is read where a token is predicted,
so it can find the place after the marker, and not the deciding token itself.
"""

from functools import cache

import pytest
import torch

from collimate import divergences, methods
from collimate._types import Batch
from collimate.token_masks import SparseMask

TOKENS, LENGTH, PAIRS, STEPS = 8, 8, 64, 400
MARKER, GOOD, BAD = 0, 1, 2
SEEDS = range(4)
SPARSE, DPO = methods.sparse_po(0.5, l1=0.01), methods.dpo(0.5)

pytestmark = pytest.mark.slow


def world(seed):
    """The reference's log-probs of a token after a token, and answers (chosen and rejected in turn)."""
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(TOKENS, TOKENS, dtype=torch.float64, generator=generator).log_softmax(
        -1
    )
    answers = torch.randint(3, TOKENS, (2 * PAIRS, LENGTH + 1), generator=generator)
    at = torch.randint(1, LENGTH, (2 * PAIRS,), generator=generator)
    row = torch.arange(2 * PAIRS)
    answers[row, at] = MARKER
    answers[row, at + 1] = torch.tensor([GOOD, BAD]).repeat(PAIRS)
    return reference, answers


def view_of(policy, reference, answers, masks):
    before, token = answers[:, :-1].flatten(), answers[:, 1:].flatten()
    hidden = torch.eye(TOKENS, dtype=torch.float64)[before][None]
    row = torch.arange(len(answers)).repeat_interleave(LENGTH)
    kl = divergences.forward_kl.exact(policy, reference)[before]
    sequences = len(answers)
    unknown = torch.full((sequences,), float("nan"), dtype=torch.float64)
    return Batch(
        sequence=torch.arange(sequences).repeat_interleave(LENGTH),
        example=torch.arange(sequences // 2).repeat_interleave(2),
        label=unknown,
        score=unknown,
        role=torch.zeros(sequences, dtype=torch.long),
        token_weight=torch.ones(len(token), dtype=torch.float64),
        columns={},
        log_prob=policy[before, token],
        reference=reference[before, token],
        signals={
            "forward_kl_to_reference": kl,
            **{name: mask(hidden, row) for name, mask in masks.items()},
        },
    ).pairs()


@cache
def trained(method, seed):
    """Once the good token is the likelier by 4 nats: KL elsewhere, and the reward mask's share after the
    marker (NaN without a mask)."""
    reference, answers = world(seed)
    torch.manual_seed(seed)
    masks = {
        name: SparseMask(1, TOKENS).double()
        for name in ("reward_mask", "kl_mask")
        if name in {signal.name for signal in method.needs.signals}
    }
    logits = reference.clone().requires_grad_()
    learned = [parameter for mask in masks.values() for parameter in mask.parameters()]
    optimizer = torch.optim.Adam([logits, *learned], lr=0.02)
    for _ in range(STEPS):
        policy = logits.log_softmax(-1)
        view = view_of(policy, reference, answers, masks)
        gained = (policy - reference)[MARKER]
        if gained[GOOD] - gained[BAD] > 4:
            break
        optimizer.zero_grad()
        method(view).mean().backward()
        optimizer.step()
    else:
        pytest.fail("the policy did not learn the preference")
    elsewhere = divergences.reverse_kl.exact(policy, reference)[3:].mean().item()
    mask = view.tokens.signals.get("reward_mask", torch.full((LENGTH,), torch.nan)).view(-1, LENGTH)
    after_marker = (answers[:, :-1] == MARKER)[: len(mask)]
    return elsewhere, (mask[after_marker].sum() / mask.sum()).item()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mask_finds_the_place_that_decides(seed):
    _, share = trained(SPARSE, seed)
    assert share > 0.8 > 1 / LENGTH  # what an even mask has there


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rest_stays_nearer_to_the_reference_than_under_dpo(seed):
    sparse, _ = trained(SPARSE, seed)
    plain, _ = trained(DPO, seed)
    assert sparse < plain
