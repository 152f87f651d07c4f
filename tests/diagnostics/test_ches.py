"""CHES against loops over lists, under padding of any content, on either side."""

import math
from inspect import unwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadData
from collimate.diagnostics import (
    ches_from_sums,
    ches_score,
    ches_score_length_normalised,
    hidden_sums,
)

SCORES = [ches_score, ches_score_length_normalised]


def naive(chosen, rejected, *, normalised):
    """Of two lists of hidden vectors, in Python numbers."""
    width = len(chosen[0])
    plus = [math.fsum(h[d] for h in chosen) for d in range(width)]
    minus = [math.fsum(h[d] for h in rejected) for d in range(width)]
    if normalised:
        plus = [x / len(chosen) for x in plus]
        minus = [x / len(rejected) for x in minus]
    across = math.fsum(a * b for a, b in zip(plus, minus, strict=True))
    return across - math.fsum(a * a for a in plus)


def states(seed, pairs=5, width=7, longest=6):
    """Ragged hidden states of both answers of each pair."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (pairs, 2), generator=generator).tolist()
    return [
        [torch.randn(n, width, dtype=torch.float64, generator=generator) + 0.3 for n in both]
        for both in lengths
    ]


def padded(sequences, *, side, fill, extra=2):
    """[pair, position, width] and the mask, padded on one side with `fill`."""
    longest = max(len(h) for h in sequences) + extra
    hidden = torch.full((len(sequences), longest, sequences[0].shape[1]), fill, dtype=torch.float64)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for i, h in enumerate(sequences):
        here = slice(0, len(h)) if side == "right" else slice(longest - len(h), longest)
        hidden[i, here], mask[i, here] = h, True
    return hidden, mask


def scored(score, answers, **how):
    chosen, chosen_mask = padded([both[0] for both in answers], **how)
    rejected, rejected_mask = padded([both[1] for both in answers], **how)
    return score(chosen, rejected, chosen_mask=chosen_mask, rejected_mask=rejected_mask)


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_the_loop_under_any_padding(score, seed):
    answers = states(seed)
    expected = [
        naive(a.tolist(), b.tolist(), normalised=score is ches_score_length_normalised)
        for a, b in answers
    ]
    for side in ("left", "right"):
        for fill in (0.0, 7.0, math.nan, math.inf):
            assert scored(score, answers, side=side, fill=fill).tolist() == pytest.approx(
                expected, rel=1e-12, abs=1e-12
            )


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
def test_left_and_right_padding_agree_in_half_precision(score):
    """The bar is 1e-6: what is summed is the same numbers, in float64."""
    answers = [[h.bfloat16().double() for h in both] for both in states(9)]
    left, right = (scored(score, answers, side=side, fill=1e30) for side in ("left", "right"))
    assert (left - right).abs().max() < 1e-6


def test_fixed_cases():
    """<(3, 1), (0, 2)> - 10 = -8; of means <(1.5, .5), (0, 2)> - 2.5 = -1.5."""
    chosen = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [50.0, 50.0]]])
    rejected = torch.tensor([[[0.0, 2.0], [60.0, 60.0], [70.0, 70.0]]])
    masks = {
        "chosen_mask": torch.tensor([[True, True, False]]),
        "rejected_mask": torch.tensor([[True, False, False]]),
    }
    assert ches_score(chosen, rejected, **masks).item() == -8
    assert ches_score_length_normalised(chosen, rejected, **masks).item() == -1.5
    assert ches_score(rejected, rejected, **{**masks, "chosen_mask": masks["rejected_mask"]}) == 0


@given(seed=st.integers(0, 2**31 - 1), size=st.floats(0.1, 10))
def test_scale_and_rotation(seed, size):
    """c·h has c² times the score; a rotation of the hidden space changes nothing."""
    answers = states(seed, pairs=2, width=3)
    matrix = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(matrix).Q
    turned = [[size * h @ rotation for h in both] for both in answers]
    for score in SCORES:
        torch.testing.assert_close(
            scored(score, turned, side="left", fill=0.0),
            size**2 * scored(score, answers, side="left", fill=0.0),
            rtol=1e-9,
            atol=1e-9,
        )


def test_long_sums_do_not_lose_digits():
    """Of 20000 positions with a mean that cancels: float32 sums would be off by far more than 1e-6."""
    generator = torch.Generator().manual_seed(0)
    h = (1000 + torch.randn(1, 20_000, 2, generator=generator)).float()
    mask = torch.ones(1, 20_000, dtype=torch.bool)
    found = ches_score(h, h + 1, chosen_mask=mask, rejected_mask=mask).item()
    chosen, rejected = h[0].double().tolist(), (h + 1)[0].double().tolist()
    assert found == pytest.approx(naive(chosen, rejected, normalised=False), rel=1e-9)


def test_ragged_sums_are_the_padded_ones():
    answers = states(3)
    flat = torch.cat([h for both in answers for h in both])
    owner = torch.repeat_interleave(torch.tensor([len(h) for both in answers for h in both]))
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))
    sums = hidden_sums(flat[order], owner[order], 2 * len(answers))
    torch.testing.assert_close(
        ches_from_sums(sums[0::2], sums[1::2]),
        scored(ches_score, answers, side="right", fill=0.0),
        rtol=1e-12,
        atol=1e-12,
    )


ONE = torch.ones(2, 3, 4)
ALL = torch.ones(2, 3, dtype=torch.bool)
EMPTY = torch.tensor([[True, True, True], [False, False, False]])


@pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("chosen", "rejected", "masks", "message"),
    [
        (ONE, ONE, (EMPTY, ALL), "chosen_mask of pair 1 marks no position"),
        (ONE, ONE, (ALL, EMPTY), "rejected_mask of pair 1 marks no position"),
        (ONE, ONE, (ALL[:, :2], ALL), r"chosen_mask must have shape \[2, 3\], .*got \[2, 2\]"),
        (ONE, ONE[..., :2], (ALL, ALL), r"hidden_rejected must have shape \[2, 3, 4\]"),
        (ONE, ONE[:1], (ALL, ALL[:1]), r"hidden_rejected must have shape \[2, 3, 4\]"),
        (ONE[0], ONE[0], (ALL, ALL), r"shape \[pair, position, width\]"),
    ],
    ids=["no chosen", "no rejected", "mask", "width", "pairs", "dimensions"],
)
def test_masks_and_shapes_that_cannot_be(score, chosen, rejected, masks, message):
    with pytest.raises(BadData, match=message):
        unwrap(score)(chosen, rejected, chosen_mask=masks[0], rejected_mask=masks[1])


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ([0, 0, 2], "sequence 1 has no"),
        ([0, 1, 3], "in 0 to 2"),
        ([0, 1], r"must have shape \[3\]"),
    ],
    ids=["empty", "beyond", "shape"],
)
def test_owners_that_cannot_be(owner, message):
    with pytest.raises(BadData, match=message):
        unwrap(hidden_sums)(torch.ones(3, 2), torch.tensor(owner), 3)
