"""won:25: which rejected answers teach DPO a target, and which do not."""

import pytest
import torch
from torch.testing import assert_close

from collimate import methods
from collimate._checks import BadConfig
from collimate.divergences import reverse_kl
from collimate.lab import contrast, differential_information, fit, rejected_law

RESPONSES = 30


def two_policies(seed):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(2, 1, RESPONSES, dtype=torch.float64, generator=generator)
    return numbers.log_softmax(-1)


def miss(log_target, log_q, log_rejected, beta):
    """KL(p*‖p) of the DPO policy fitted to chosen answers from q and these rejected ones."""
    world = contrast(log_q, log_q, log_rejected)
    policy = fit(world, methods.dpo(beta)).log_probs
    return reverse_kl.exact(log_target, policy).item()  # KL(p*‖p): its first argument is p*


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_dpo_learns_the_target_from_the_optimal_rejected_answers_only(seed, beta):
    log_q, log_target = two_policies(seed)
    optimal = rejected_law(log_target, log_q, beta)
    assert miss(log_target, log_q, optimal, beta) < 1e-6  # measured: below 1e-12
    others = {
        "uniform": torch.zeros_like(log_q).log_softmax(-1),
        "the reference": log_q,
        "another exponent": rejected_law(log_target, log_q, 2 * beta),
    }
    for name, law in others.items():
        assert miss(log_target, log_q, law, beta) > 0.1, name  # measured: 0.55 and more


def test_optimal_rejected_answers_encode_the_differential_information():
    log_q, log_target = two_policies(7)
    world = contrast(log_q, log_q, rejected_law(log_target, log_q, 0.7))
    encoded = 0.7 * differential_information(log_target, log_q)
    gaps = world.preferences().logit()
    assert_close(gaps, encoded[:, :, None] - encoded[:, None, :], rtol=1e-9, atol=1e-9)
    optimum = methods.dpo(0.7).population_optimum(world)
    assert_close(optimum, log_target, rtol=0, atol=1e-11)


def test_labels_of_a_contrast_are_the_two_laws():
    chosen, rejected = two_policies(3)
    labels = contrast(chosen, chosen, rejected).labels()
    assert_close(labels.sum(-1), chosen.exp())
    assert_close(labels.sum(-2), rejected.exp())


def test_a_target_with_zeros_is_refused():
    log_q, _ = two_policies(0)
    target = torch.full((1, RESPONSES), -torch.inf, dtype=torch.float64)
    target[0, 0] = 0.0
    with pytest.raises(BadConfig, match=r"log-prob \[0, 1\] is -inf.*mix the target"):
        rejected_law(target, log_q, 1.0)
    with pytest.raises(BadConfig, match="beta"):
        rejected_law(log_q, log_q, 0.0)
