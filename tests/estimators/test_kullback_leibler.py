"""k1, k2, k3 and the entropy: exact expectations in finite worlds, and what the formulas promise."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from collimate import divergences
from collimate._checks import BadData
from collimate.estimators import entropy, kl_k1, kl_k2, kl_k3

ALL = [kl_k1, kl_k2, kl_k3]
SEEDS = st.integers(0, 2**31 - 1)


def laws(seed, size=6, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = spread * torch.randn(2, size, dtype=torch.float64, generator=generator)
    return x.log_softmax(-1)


def expectation(estimator, log_p, log_q):
    """E_p of the value of one sample, every answer asked once."""
    return (log_p.exp() * estimator(log_p, log_q).values).sum()


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3], ids=["k1", "k3"])
@given(seed=SEEDS, spread=st.floats(0.001, 4))
def test_k1_and_k3_are_unbiased(estimator, seed, spread):
    log_p, log_q = laws(seed, spread=spread)
    exact = divergences.reverse_kl.exact(log_p, log_q)
    assert_close(expectation(estimator, log_p, log_q), exact, rtol=1e-10, atol=1e-15)


@given(seed=SEEDS)
def test_exchanged_arguments_and_samples_of_q_give_the_forward_kl(seed):
    log_p, log_q = laws(seed)
    exact = divergences.forward_kl.exact(log_p, log_q)
    assert_close(expectation(kl_k3, log_q, log_p), exact)


@given(seed=SEEDS)
def test_k2_is_biased_by_the_third_moment_to_leading_order(seed):
    """bias/(E[u³]/6) -> 1: the rest is of fourth order, so it shrinks with the distance of p and q."""
    direction, base = laws(seed)
    rest = []
    for size in (1e-2, 1e-3):
        log_p, log_q = base, (base + size * direction).log_softmax(-1)
        bias = expectation(kl_k2, log_p, log_q) - expectation(kl_k3, log_p, log_q)
        third = (log_p.exp() * (log_p - log_q) ** 3).sum() / 6
        rest.append(abs(float(bias - third)) / size**4)
    assert rest[1] == pytest.approx(rest[0], rel=0.2, abs=2e-3)  # a fifth order is left at 1e-2


@pytest.mark.parametrize(
    ("p", "q", "bias"),
    [([0.5, 0.5], [0.9, 0.1], 0.2231), ([0.99, 0.01], [0.9, 0.1], -0.0403)],
    ids=["above", "below"],
)
def test_the_bias_of_k2_has_either_sign(p, q, bias):
    u = [math.log(a / b) for a, b in zip(p, q, strict=True)]
    naive = sum(a * (x * x / 2 - x) for a, x in zip(p, u, strict=True))
    log_p, log_q = torch.tensor([p, q], dtype=torch.float64).log()
    found = expectation(kl_k2, log_p, log_q) - divergences.reverse_kl.exact(log_p, log_q)
    assert float(found) == pytest.approx(naive, rel=1e-12)
    assert naive == pytest.approx(bias, abs=5e-5)


def test_k3_misses_the_mass_that_p_does_not_cover():
    log_p = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    log_q = torch.tensor([0.3, 0.4], dtype=torch.float64).log()  # the other 0.3 is never drawn
    kl = expectation(kl_k1, log_p, log_q)
    assert_close(expectation(kl_k3, log_p, log_q), kl - 0.3)


@pytest.mark.parametrize(
    ("p", "q", "better"),
    [([0.5, 0.5], [0.55, 0.45], "k3"), ([0.999, 0.001], [0.5, 0.5], "k1")],
    ids=["close", "q heavy where p is light"],
)
def test_k3_has_the_smaller_variance_only_where_p_covers_q_well(p, q, better):
    log_p, log_q = torch.tensor([p, q], dtype=torch.float64).log()
    variance = {}
    for name, estimator in (("k1", kl_k1), ("k3", kl_k3)):
        x = estimator(log_p, log_q).values
        mean = (log_p.exp() * x).sum()
        variance[name] = float((log_p.exp() * (x - mean) ** 2).sum())
    assert min(variance, key=variance.__getitem__) == better


@pytest.mark.parametrize("estimator", ALL, ids=["k1", "k2", "k3"])
def test_the_standard_error_is_that_of_repeated_samples(estimator):
    log_p, log_q = laws(3)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(log_p.exp(), 400 * 500, True, generator=generator).view(400, 500)
    runs = [estimator(log_p[row], log_q[row]) for row in drawn]
    means = torch.tensor([run.mean for run in runs], dtype=torch.float64)
    told = sum(run.standard_error for run in runs) / len(runs)
    assert float(means.std()) == pytest.approx(told, rel=0.12)  # 400 runs: 3 sd of a sd
    covered = (means - expectation(estimator, log_p, log_q)).abs() < 1.96 * told
    assert float(covered.double().mean()) == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("u", [-700.0, -1.0000001, -0.999999, -1e-9, 1e-9, 0.3, 1.0, 1000.0])
def test_values_are_relatively_exact(u):
    zero, minus = torch.zeros(1, dtype=torch.float64), torch.tensor([-u], dtype=torch.float64)
    with mpmath.workdps(60):
        truth = float(mpmath.expm1(-mpmath.mpf(u)) + mpmath.mpf(u))
    assert kl_k3(zero, minus).mean == pytest.approx(truth, rel=1e-12)
    assert kl_k2(zero, minus).mean == pytest.approx(u * u / 2, rel=1e-15)
    assert kl_k1(zero, minus).mean == u


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_beyond_the_range_of_float64_k3_says_inf_and_never_nan(dtype):
    found = kl_k3(
        torch.tensor([-1000.0, -1.0], dtype=dtype), torch.tensor([0.0, -1.0], dtype=dtype)
    )
    assert found.values.tolist() == [math.inf, 0.0]
    assert (found.mean, found.standard_error) == (math.inf, math.inf)


@pytest.mark.parametrize("estimator", ALL, ids=["k1", "k2", "k3"])
def test_a_sample_that_q_forbids_makes_it_infinite(estimator):
    found = estimator(torch.tensor([-1.0, -1.0]), torch.tensor([-math.inf, -1.0]))
    assert (found.mean, found.standard_error) == (math.inf, math.inf)


@given(seed=SEEDS)
def test_equal_distributions_have_zero_divergence_sample_by_sample(seed):
    log_p, _ = laws(seed)
    for estimator in ALL:
        assert (estimator(log_p, log_p).values == 0).all()


@given(seed=SEEDS)
def test_entropy_is_unbiased(seed):
    log_p, _ = laws(seed)
    truth = -(log_p.exp() * log_p).sum()
    assert_close((log_p.exp() * entropy(log_p).values).sum(), truth)


def test_one_sample_has_no_known_error():
    assert entropy(torch.tensor([-1.0])).standard_error == math.inf


@pytest.mark.parametrize(
    ("log_p", "log_q", "said"),
    [
        ([], [], "at least one row"),
        ([float("nan")], [0.0], "log_p must be log-probs"),
        ([0.0], [float("nan")], "log_q must be log-probs"),
        ([0.0], [math.inf], "log_q must be log-probs"),
        ([-math.inf], [0.0], "cannot have drawn"),
    ],
    ids=["none", "nan p", "nan q", "inf", "impossible"],
)
@pytest.mark.parametrize("estimator", ALL, ids=["k1", "k2", "k3"])
def test_what_no_sampler_can_give_is_refused(estimator, log_p, log_q, said):
    with pytest.raises(BadData, match=said):
        estimator(torch.tensor(log_p), torch.tensor(log_q))
