"""Proxy rewards: bounds that hold and are met, the best of n enumerated, bins by quantile."""

import itertools
import math
from inspect import unwrap

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collimate import divergences
from collimate._checks import BadConfig, BadData
from collimate.diagnostics import (
    best_of_n,
    best_of_n_curve,
    best_of_n_kl_bound,
    proxy_by_quantile,
    proxy_error,
    proxy_gain,
)
from collimate.lab import World

seeds = st.integers(0, 2**31 - 1)


def world(seed, contexts=4, responses=6):
    """log p, log q, proxy and true reward of a random world."""
    generator = torch.Generator().manual_seed(seed)
    log_p, log_q, noise, true = torch.randn(
        4, contexts, responses, dtype=torch.float64, generator=generator
    )
    return (2 * log_p).log_softmax(-1), log_q.log_softmax(-1), true + noise, true


@given(seed=seeds)
def test_both_errors_are_expectations_and_lie_within_their_bounds(seed):
    log_p, log_q, proxy, true = world(seed)
    found = proxy_error(log_p, log_q, proxy, true)
    for c in range(len(true)):
        p, q, d = (x[c].tolist() for x in (log_p.exp(), log_q.exp(), proxy - true))
        after = math.fsum(a * x for a, x in zip(p, d, strict=True))
        before = math.fsum(a * x for a, x in zip(q, d, strict=True))
        chi_squared = math.fsum((a - b) ** 2 / b for a, b in zip(p, q, strict=True))
        assert found.error[c].item() == pytest.approx(after, abs=1e-12)
        assert found.shift[c].item() == pytest.approx(after - before, abs=1e-12)
        assert found.chi_squared[c].item() == pytest.approx(chi_squared, rel=1e-9)
    assert (found.shift.abs() <= found.shift_bound + 1e-12).all()
    assert (found.error.abs() <= found.error_bound + 1e-12).all()


@given(seed=seeds, a=st.floats(-3, 3), b=st.floats(0.1, 5))
def test_the_bounds_are_met_by_errors_in_the_likelihood_ratio(seed, a, b):
    log_p, log_q, _, true = world(seed)
    ratio = (log_p - log_q).exp()
    shift = proxy_error(log_p, log_q, true + a + b * ratio, true)
    torch.testing.assert_close(shift.shift, shift.shift_bound, rtol=1e-6, atol=1e-9)
    whole = proxy_error(log_p, log_q, true + b * ratio, true)
    torch.testing.assert_close(whole.error, whole.error_bound, rtol=1e-6, atol=1e-9)


def test_the_bound_without_the_one_is_broken_at_the_reference_itself():
    """sqrt(χ²·E_q[d²]) would be 0 at p = q, where a constant error of the proxy is still there."""
    _, log_q, _, true = world(0)
    found = proxy_error(log_q, log_q, true + 2, true)
    assert (found.error - 2).abs().max() < 1e-12
    assert found.chi_squared.abs().max() < 1e-12
    assert (found.error_bound - 2).abs().max() < 1e-9
    assert found.shift_bound.abs().max() < 1e-6


def test_where_the_policy_leaves_the_reference_nothing_is_promised():
    log_q = torch.tensor([[1.0, 0.0]], dtype=torch.float64).log()
    log_p = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    reward = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = proxy_error(log_p, log_q, reward, 0 * reward)
    assert found.error_bound.item() == math.inf
    exact = proxy_error(log_p, log_q, reward, reward)
    assert (exact.error.item(), exact.error_bound.item()) == (0, 0)


@given(seed=seeds)
def test_the_true_gain_is_at_least_what_is_promised(seed):
    log_p, log_q, proxy, true = world(seed)
    found = proxy_gain(log_p, log_q, proxy, true)
    q, p = log_q.exp(), log_p.exp()
    for name, reward in (("proxy", proxy), ("true", true)):
        mean = (q * reward).sum(-1)
        sd = (q * (reward - mean[:, None]).square()).sum(-1).sqrt()
        torch.testing.assert_close(getattr(found, name), ((p * reward).sum(-1) - mean) / sd)
    assert (found.true >= found.lowest_true - 1e-9).all()
    assert (found.lowest_true.isinf() == (found.correlation <= 0)).all()


def test_an_affine_proxy_promises_all_of_its_gain():
    log_p, log_q, _, true = world(1)
    found = proxy_gain(log_p, log_q, 5 * true - 3, true)
    torch.testing.assert_close(found.lowest_true, found.true, rtol=1e-6, atol=1e-6)


def test_the_price_of_a_proxy_in_a_world_and_its_optimum():
    """Optimising a proxy harder under KL: the promise holds at every beta, and its error grows."""
    _, log_q, proxy, true = world(3)
    lab = World(log_q, proxy)
    errors = []
    for beta in (10.0, 1.0, 0.3, 0.1):
        optimum = lab.optimum(divergences.reverse_kl, beta)
        found = proxy_error(optimum, lab.reference_log_probs, proxy, true)
        gain = lab.expected_reward(optimum) - lab.expected_reward(lab.reference_log_probs)
        true_gain = ((optimum.exp() - log_q.exp()) * true).sum(-1).mean().item()
        assert true_gain >= gain - found.shift_bound.mean().item() - 1e-9
        errors.append(found.shift.mean().item())
    assert errors == sorted(errors)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_best_of_n_is_every_tuple_of_draws(n):
    """Ties broken at random, by enumeration of 5^n tuples."""
    q = [0.1, 0.3, 0.2, 0.25, 0.15]
    proxy = [1.0, 2.0, 2.0, -1.0, 0.0]
    expected = [0.0] * 5
    for drawn in itertools.product(range(5), repeat=n):
        best = max(proxy[i] for i in drawn)
        winners = [i for i in drawn if proxy[i] == best]
        for i in winners:
            expected[i] += math.prod(q[j] for j in drawn) / len(winners)
    table = torch.tensor([q], dtype=torch.float64).log()
    found = best_of_n(table, torch.tensor([proxy]), n).exp()[0].tolist()
    assert found == pytest.approx(expected, rel=1e-12)


@given(seed=seeds, n=st.integers(1, 300))
def test_the_best_of_n_is_a_distribution_within_its_kl(seed, n):
    _, log_q, proxy, _ = world(seed)
    found = best_of_n(log_q, proxy.round(), n)
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(4, dtype=torch.float64))
    assert (divergences.reverse_kl.exact(found, log_q) <= best_of_n_kl_bound(n) + 1e-9).all()


def test_many_small_answers_meet_the_kl_bound():
    log_q = torch.full((1, 2000), -math.log(2000), dtype=torch.float64)
    found = best_of_n(log_q, torch.arange(2000.0)[None], 8)
    assert divergences.reverse_kl.exact(found, log_q).item() == pytest.approx(
        best_of_n_kl_bound(8), abs=0.01
    )


@pytest.mark.parametrize("n", [1, 2, 4, 6])
def test_the_curve_is_the_mean_over_all_subsets(n):
    generator = torch.Generator().manual_seed(0)
    proxy = torch.randint(0, 3, (2, 6), generator=generator).double()  # ties
    true = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    found = best_of_n_curve(proxy, true, [n])
    for prompt in range(2):
        rewards, worth = [], []
        for subset in itertools.combinations(range(6), n):
            best = max(proxy[prompt, i].item() for i in subset)
            winners = [true[prompt, i].item() for i in subset if proxy[prompt, i] == best]
            rewards.append(best)
            worth.append(math.fsum(winners) / len(winners))
        assert found.proxy[0, prompt].item() == pytest.approx(np.mean(rewards))
        assert found.true[0, prompt].item() == pytest.approx(np.mean(worth))


def test_the_curve_from_draws_is_that_of_the_policy():
    """20000 prompts of 8 draws against the exact best of 4, within four standard errors."""
    _, log_q, proxy, true = world(5, contexts=1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(log_q[0].exp(), 160_000, replacement=True, generator=generator)
    drawn = drawn.view(20_000, 8)
    curve = best_of_n_curve(proxy[0][drawn], true[0][drawn], [1, 4])
    p = best_of_n(log_q, proxy, 4).exp()
    for name, reward in (("proxy", proxy), ("true", true)):
        sample = getattr(curve, name)[1]
        error = sample.std() / math.sqrt(len(sample))
        assert abs(sample.mean() - (p * reward).sum()) < 4 * error
    torch.testing.assert_close(curve.true[0], true[0][drawn].mean(-1))


def test_a_hacked_proxy_agrees_overall_and_not_where_it_is_high():
    """true = proxy up to 1, then it falls: rho is high, the last fifth is upside down."""
    proxy = np.random.default_rng(0).normal(size=5000)
    true = np.where(proxy < 1, proxy, 2 - proxy)
    found = proxy_by_quantile(proxy, true)
    assert np.corrcoef(proxy, true)[0, 1] > 0.7
    assert [x.correlation > 0.9 for x in found[:4]] == [True] * 4
    assert found[-1].correlation < 0
    assert sum(x.answers for x in found) == 5000
    assert {x.answers for x in found} == {1000}


def test_bins_are_means_and_correlations_of_their_own_answers():
    generator = np.random.default_rng(1)
    proxy, true = generator.normal(size=(2, 60))
    order = np.argsort(proxy)
    for i, x in enumerate(proxy_by_quantile(proxy, true, bins=3)):
        here = order[20 * i : 20 * (i + 1)]
        assert (x.proxy, x.true) == pytest.approx((proxy[here].mean(), true[here].mean()))
        assert x.correlation == pytest.approx(np.corrcoef(proxy[here], true[here])[0, 1])
    tied = proxy_by_quantile(np.array([1.0, 2.0, 2.0, 3.0]), np.zeros(4), bins=2)
    assert [(x.answers, x.to_quantile) for x in tied] == [(3, 0.5), (1, 1.0)]
    assert math.isnan(proxy_by_quantile(np.ones(4), np.arange(4.0), bins=2)[0].correlation)


ONE = torch.ones(1, 2)
HALF = (ONE / 2).log()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: unwrap(proxy_error)(HALF, HALF, ONE, ONE[:, :1]), BadData, "true must have shape"),
        (lambda: proxy_gain(HALF, HALF, ONE * math.nan, ONE), BadData, "proxy must be finite"),
        (lambda: unwrap(best_of_n)(HALF, ONE[:, :1], 2), BadData, "proxy must have shape"),
        (lambda: best_of_n(HALF, ONE, 0), BadConfig, "n must be a whole number of at least 1"),
        (lambda: best_of_n_curve(ONE, ONE, [3]), BadConfig, "the best of 3 needs as many draws"),
        (lambda: best_of_n_curve(ONE[:0], ONE[:0], [1]), BadData, "proxy is empty"),
        (lambda: best_of_n_kl_bound(0), BadConfig, "n must be"),
        (lambda: proxy_by_quantile(np.ones(1), np.full(1, np.nan)), BadData, "must be finite"),
        (lambda: unwrap(proxy_by_quantile)(np.ones(1), np.ones(2)), BadData, "got 1 and 2"),
        (lambda: proxy_by_quantile(np.ones(1), np.ones(1), bins=0), BadConfig, "bins must be"),
    ],
    ids=["true", "nan", "proxy", "n", "draws", "none", "kl", "finite", "lengths", "bins"],
)
def test_what_cannot_be(call, error, message):
    with pytest.raises(error, match=message):
        call()
