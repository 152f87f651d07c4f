"""Mean log-ratios and effective sample size."""

import math
from inspect import unwrap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate._checks import BadData
from collimate.diagnostics import effective_sample_size, mean_log_ratio
from collimate.divergences import reverse_kl


def test_over_draws_from_the_policy_it_is_the_kl_and_over_given_answers_it_is_not():
    """Exact expectations as weighted draws: 1, 2, 5 of 8 under p; and each answer once."""
    p = torch.tensor([1 / 8, 2 / 8, 5 / 8], dtype=torch.float64).log()
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    drawn = torch.tensor([0, 1, 1, 2, 2, 2, 2, 2])
    torch.testing.assert_close(mean_log_ratio(p[drawn], q[drawn]), reverse_kl.exact(p, q))
    assert mean_log_ratio(p, q) < 0  # no divergence


weights = st.lists(st.floats(-50, 50), min_size=1, max_size=20)


@given(u=weights, shift=st.floats(-300, 300))
def test_effective_sample_size_is_the_naive_one_at_any_scale(u, shift):
    w = [math.exp(x) for x in u]
    naive = math.fsum(w) ** 2 / math.fsum(x * x for x in w)
    found = effective_sample_size(torch.tensor(u, dtype=torch.float64) + shift * 10).item()
    assert found == pytest.approx(naive, rel=1e-9)
    assert 1 - 1e-9 <= found <= len(u) + 1e-9


def test_its_ends():
    assert effective_sample_size(torch.full((7,), -900.0)).item() == pytest.approx(7)
    assert effective_sample_size(torch.tensor([800.0, 0.0, -math.inf])).item() == pytest.approx(1)
    k_of_n = torch.tensor([0.0, 0.0, -math.inf, -math.inf])
    assert effective_sample_size(k_of_n).item() == pytest.approx(2)


def test_it_counts_draws_as_the_chi_square_says():
    """E over many draws from q: n/(1 + χ²(p‖q)); here the draws are q itself, exactly."""
    p = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    q = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    drawn = torch.tensor([0, 0, 1, 2])
    chi_squared = ((p - q) ** 2 / q).sum()
    found = effective_sample_size((p.log() - q.log())[drawn])
    torch.testing.assert_close(found, 4 / (1 + chi_squared))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (mean_log_ratio, (torch.ones(0), torch.ones(0)), "policy is empty"),
        (mean_log_ratio, (torch.ones(2), torch.ones(1)), r"reference must have shape \[2\]"),
        (mean_log_ratio, (torch.ones(1), torch.tensor([-math.inf])), "must be finite, got inf"),
        (effective_sample_size, (torch.ones(0),), "log_weights is empty"),
        (effective_sample_size, (torch.tensor([0.0, math.inf]),), r"below \+inf"),
        (effective_sample_size, (torch.tensor([0.0, math.nan]),), "must be numbers"),
        (effective_sample_size, (torch.full((2,), -math.inf),), "all draws have weight 0"),
    ],
    ids=["none", "shape", "impossible", "no draw", "infinite", "nan", "no weight"],
)
def test_what_cannot_be(function, arguments, message):
    with pytest.raises(BadData, match=message):
        unwrap(function)(*arguments)
