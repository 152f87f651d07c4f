"""Masks from hidden states, token by token."""

import torch
from torch.testing import assert_close

from collimate.token_masks import ActivationMask, SparseMask

LAYERS, WIDTH = 3, 5
ANSWER = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])


def states(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(LAYERS, len(ANSWER), WIDTH, dtype=torch.float64, generator=generator)


def test_activations_are_rescaled_within_each_answer_and_layer():
    hidden, expected = states(), torch.zeros(len(ANSWER), dtype=torch.float64)
    for layer in hidden:
        for answer in ANSWER.unique():
            a = layer[answer == ANSWER].mean(-1)
            span = a.max() - a.min()
            expected[answer == ANSWER] += (a - a.min()) / span if len(a) > 1 else torch.ones(1)
    assert_close(ActivationMask(LAYERS, WIDTH)(hidden, ANSWER), expected / LAYERS)
    even = torch.ones(LAYERS, len(ANSWER), WIDTH)
    assert torch.equal(ActivationMask(LAYERS, WIDTH)(even, ANSWER), torch.ones(len(ANSWER)))


def test_states_that_a_norm_has_centred_say_nothing():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(LAYERS, len(ANSWER), 512, generator=generator)
    mask, one = ActivationMask(LAYERS, 512), torch.ones(len(ANSWER))
    centred = torch.nn.functional.layer_norm(hidden, (512,)).bfloat16().float()
    assert torch.equal(mask(centred, ANSWER), one)
    assert not torch.equal(mask(hidden, ANSWER), one)


def test_standardising_first_changes_nothing():
    hidden = states()[:, ANSWER == 2]
    a = hidden.mean(-1, keepdim=True)
    standard = (a - a.mean(1, keepdim=True)) / a.std(1, keepdim=True)
    owner = torch.zeros(hidden.shape[1]).long()
    mask = ActivationMask(LAYERS, WIDTH)
    assert_close(mask(standard, owner), mask(hidden, owner))


def test_a_learned_mask_is_two_layers_of_relu_and_starts_near_one():
    torch.manual_seed(0)
    mask, hidden = SparseMask(LAYERS, WIDTH).double(), states()
    start = mask(hidden, ANSWER)
    assert (start - 1).abs().max() < 0.3  # 0.1/5·|norm(h)|, a few standard deviations
    with torch.no_grad():
        for parameter in mask.parameters():
            parameter.copy_(torch.randn_like(parameter))
        mask.bias -= 1  # some of the sums below 0
    found = mask(hidden, ANSWER)
    for t in range(len(ANSWER)):
        total = torch.zeros((), dtype=torch.float64)
        for g in range(LAYERS):
            h = hidden[g, t]
            h = (h - h.mean()) / (h.var(correction=0) + mask.norm.eps).sqrt()
            h = mask.norm.weight * h + mask.norm.bias
            total = total + mask.mix[g] * max(mask.weight[g] @ h + mask.bias[g], 0 * total)
        assert_close(found[t], total.clamp(min=0))
    assert (found >= 0).all()
    assert (found == 0).any()
    assert (found > 0).any()
