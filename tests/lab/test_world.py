"""What a world promises about pairs, labels, sums and refusals."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from collimate._checks import BadConfig
from collimate.divergences import reverse_kl
from collimate.lab import World, total_variation
from collimate.lab._fields import checked

LOG_Q = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]).log()
REWARD = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])


def test_everything_is_float64_and_normalised_to_its_last_bit():
    world = World(LOG_Q, REWARD)
    assert world.reference_log_probs.dtype == world.reward.dtype == torch.float64
    assert_close(
        world.reference_log_probs.exp().sum(-1), torch.ones(2).double(), rtol=1e-15, atol=0
    )


def test_the_worlds_tensors_are_its_own():
    reward = REWARD.double()
    world = World(LOG_Q, reward)
    reward.zero_()
    assert world.reward[1, 1] == 2


def test_pairs_are_uniform_over_different_responses_by_default():
    law = World(LOG_Q, REWARD).pairs()
    assert torch.equal(law.diagonal(dim1=-2, dim2=-1), torch.zeros(2, 3).double())
    assert_close(law[:, 0, 1], torch.full((2,), 1 / 6).double())
    assert_close(law.sum((-2, -1)), torch.ones(2).double())


def test_pairs_of_independent_draws_are_a_product(random_draws):
    mu = random_draws(contexts=2, responses=3)
    assert_close(World(LOG_Q, REWARD, mu).pairs()[1, 0, 2], mu[1, 0] * mu[1, 2])


def test_preferences_are_bradley_terry_then_flipped():
    clean = World(LOG_Q, REWARD).preferences()
    assert clean[0, 0, 2].item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert_close(clean + clean.mT, torch.ones_like(clean))
    flipped = World(LOG_Q, REWARD, None, 0.2).preferences()
    assert_close(flipped, 0.8 * clean + 0.2 * (1 - clean))


def test_only_clean_labels_of_the_reward_are_bradley_terry(random_preference):
    matrix = random_preference(contexts=2, responses=3)
    assert World(LOG_Q, REWARD).is_bradley_terry
    assert not World(LOG_Q, REWARD, flip_rate=0.1).is_bradley_terry
    world = World(LOG_Q, REWARD, preference=matrix)
    assert not world.is_bradley_terry
    assert_close(world.preferences(), matrix)


def test_expected_reward_and_divergence_are_means_over_contexts():
    world = World(LOG_Q, REWARD)
    p = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
    assert world.expected_reward(p.log()) == pytest.approx((0.5 + 1.0) / 2)
    parts = [
        sum(a * math.log(a / b) for a, b in zip(row, q, strict=True) if a)
        for row, q in zip(p.tolist(), LOG_Q.exp().tolist(), strict=True)
    ]
    assert world.divergence(p.log(), reverse_kl) == pytest.approx(sum(parts) / 2, rel=1e-6)


def test_total_variation_by_hand_per_context():
    p = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]).log()
    r = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]).log()
    assert_close(total_variation(p, r), torch.tensor([0.3, 1.0]))


@pytest.mark.parametrize("law", ["uniform", "draws", "pairs"])
def test_sampled_pairs_follow_the_pair_law_and_the_labels(law, request, random_draws, random_law):
    size = {"contexts": 2, "responses": 3}
    pair_law = {"uniform": None, "draws": random_draws(**size), "pairs": random_law(**size)}[law]
    world = World(LOG_Q, REWARD, pair_law, 0.1)
    n = 60_000
    drawn = world.sample_pairs(n, np.random.default_rng(0))
    counts = np.zeros((2, 3, 3))
    np.add.at(counts, (drawn.context, drawn.chosen, drawn.rejected), 1)
    law_matrix = world.pairs()
    want = ((law_matrix + law_matrix.mT) * world.preferences() / 2).numpy()
    deviation = np.sqrt(want * (1 - want) * n)
    assert (np.abs(counts - n * want) <= 4.5 * deviation).all()


def test_sampling_repeats_with_the_seed_and_not_without(random_world):
    world = random_world(responses=200)
    one, same, other = (world.sample_pairs(50, np.random.default_rng(s)) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.chosen, other.chosen)
    assert (one.chosen != one.rejected).all()


def _nan(x):
    return x.clone().index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(math.nan))


SQUARE = torch.full((2, 3, 3), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference_log_probs": LOG_Q - 0.1}, r"context \d sum to 0.904\d*, not 1.*log_softmax"),
        ({"reference_log_probs": _nan(LOG_Q)}, r"reference_log_probs\[0, 1\] is nan"),
        ({"reward": _nan(REWARD)}, r"reward\[0, 1\] is nan"),
        ({"pair_law": SQUARE}, "pair_law must be non-negative and sum to 1"),
        ({"pair_law": -SQUARE / 4.5}, "pair_law must be non-negative"),
        ({"flip_rate": 0.5}, r"flip_rate must be in \[0.0, 0.5\)"),
        ({"flip_rate": -0.1}, "flip_rate"),
        ({"preference": 3 * SQUARE}, r"preference must lie in \[0, 1\], got 1.5 to 1.5"),
        ({"preference": SQUARE.triu(1)}, "not 1: exactly one of two responses"),
    ],
)
def test_what_is_no_world_is_refused(arguments, message):
    with pytest.raises(BadConfig, match=message):
        World(**({"reference_log_probs": LOG_Q, "reward": REWARD} | arguments))


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        (LOG_Q[0], None, r"x must have shape \[context, response\] with .*, got \[3\]"),
        (torch.zeros(2, 1), None, r"at least 2 responses, got \[2, 1\]"),
        (REWARD[:, :2], (2, 3), r"x must have shape \[2, 3\] to match .*, got \[2, 2\]"),
        (SQUARE[:1], (2, 3, 3), r"x must have shape \[2, 3, 3\] to match .*, got \[1, 3, 3\]"),
    ],
)
def test_wrong_shapes_are_named(value, shape, message):
    """The record's own check, which users meet; in tests the annotations refuse first."""
    with pytest.raises(BadConfig, match=message):
        checked("x", value, shape)


def test_labels_are_who_is_chosen_over_whom(random_draws):
    mu = random_draws(contexts=2, responses=3)
    labels = World(LOG_Q, REWARD, mu, 0.1).labels()
    assert_close(labels.sum((-2, -1)), torch.ones(2).double())
    clean = 1 / (1 + math.exp(-1.0))
    want = 2 * mu[0, 0] * mu[0, 1] * (0.1 + 0.8 * clean)
    assert_close(labels[0, 0, 1], want)


def test_strengths_are_the_reward_or_what_explains_the_labels():
    world = World(LOG_Q, REWARD)
    assert torch.equal(world.strengths(), world.reward)
    gaps = 2 * (world.reward[:, :, None] - world.reward[:, None, :])
    said = World(LOG_Q, REWARD, preference=torch.sigmoid(gaps)).strengths()
    assert_close(said, 2 * (world.reward - world.reward.mean(-1, keepdim=True)))
    assert World(LOG_Q, REWARD, flip_rate=0.1).strengths() is None  # three responses
    certain = torch.tensor([[[0.5, 1.0], [0.0, 0.5]]])
    assert (
        World(LOG_Q[:1, :2].log_softmax(-1), REWARD[:1, :2], preference=certain).strengths() is None
    )


def test_scores_look_at_drawn_pairs_only():
    path = torch.zeros(1, 3, 3)
    path[0, [0, 1], [1, 2]] = 0.5
    world = World(LOG_Q[:1], REWARD[:1], path)
    gaps = torch.tensor([[[0.0, 1.0, 99.0], [-1.0, 0.0, 2.0], [-99.0, -2.0, 0.0]]]).double()
    scores = world.scores(gaps)
    assert_close(scores[0, 0] - scores[0, 2], torch.tensor(3.0).double())
    assert World(LOG_Q[:1], REWARD[:1]).scores(gaps) is None


def test_tokens_are_whole_numbers_and_one_by_default():
    assert torch.equal(World(LOG_Q, REWARD).lengths(), torch.ones(2, 3).double())
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert World(LOG_Q, REWARD, tokens=tokens).lengths()[1, 2] == 6
    for bad in (tokens - 1, tokens + 0.5):
        with pytest.raises(BadConfig, match="tokens must be whole numbers of at least 1"):
            World(LOG_Q, REWARD, tokens=bad)
