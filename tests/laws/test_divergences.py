"""Laws of f-divergences, over every instance in the package and many alphas."""

import math
from dataclasses import replace
from operator import attrgetter

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from collimate import divergences
from collimate._checks import BadConfig
from collimate.divergences import (
    FDivergence,
    alpha,
    forward_kl,
    generalized_jensen_shannon,
    jensen_shannon,
    reverse_kl,
    skewed_forward_kl,
    skewed_jensen_shannon,
    skewed_reverse_kl,
)

ALPHAS = (-3.0, -1.0, 0.0, 1e-6, 0.3, 0.5, 0.7, 1 - 1e-6, 1.0, 2.0)
GENERALISED = (0.0, 1e-6, 0.1, 0.5, 0.8, 1 - 1e-6, 1.0)
SKEWED = ((0.5, 0.5), (0.2, 0.1), (0.7, 0.9), (1.0, 0.1), (0.0, 0.9), (0.5, 0.0), (0.5, 1.0))
mp = mpmath.mp.clone()
mp.dps = 60


def of_alpha(a):
    a = mp.mpf(a)
    if a == 0:
        return lambda t: t * mp.log(t) - t + 1, mp.log
    if a == 1:
        return lambda t: t - 1 - mp.log(t), lambda t: 1 - 1 / t
    return (
        lambda t: ((1 - a) * t + a - t ** (1 - a)) / (a * (1 - a)),
        lambda t: (1 - t**-a) / a,
    )


def of_skewed(w, a):
    """f and f' of [w·KL(q‖m) + (1-w)·KL(p‖m)], m = a·q + (1-a)·p, less their slope at 1, scaled."""
    if a in (0, 1):
        return of_alpha(1 - a)
    w, a = mp.mpf(w), mp.mpf(a)
    scale = w * (1 - a) ** 2 + (1 - w) * a**2
    at_one = (1 - w) * a - w * (1 - a)

    def f(t):
        m = a + (1 - a) * t
        return (-w * mp.log(m) + (1 - w) * t * mp.log(t / m) - at_one * (t - 1)) / scale

    def slope(t):
        m = a + (1 - a) * t
        of_p = mp.log(t / m) + 1 - t * (1 - a) / m
        return (-w * (1 - a) / m + (1 - w) * of_p - at_one) / scale

    return f, slope


# name -> (f, f') as published, of t = p/q. A new divergence needs its oracle here.
ORACLES = {
    "reverse_kl": of_alpha(0),
    "forward_kl": of_alpha(1),
    "jensen_shannon": (
        lambda t: (t * mp.log(2 * t / (1 + t)) + mp.log(2 / (1 + t))) / 2,
        lambda t: mp.log(2 * t / (1 + t)) / 2,
    ),
    "pearson_chi_squared": (lambda t: (t - 1) ** 2, lambda t: 2 * (t - 1)),
    "neyman_chi_squared": (lambda t: (1 - t) ** 2 / t, lambda t: 1 - t**-2),
    "squared_hellinger": (
        lambda t: (1 - mp.sqrt(t)) ** 2 / 2,
        lambda t: (1 - 1 / mp.sqrt(t)) / 2,
    ),
    "jeffreys": (lambda t: (t - 1) * mp.log(t), lambda t: mp.log(t) + 1 - 1 / t),
    "le_cam": (
        lambda t: (t - 1) ** 2 / (2 * (t + 1)),
        lambda t: mp.mpf(1) / 2 - 2 / (t + 1) ** 2,
    ),
    "chi_squared_kl": (
        lambda t: (t - 1) ** 2 / 2 + t * mp.log(t) - t + 1,
        lambda t: t - 1 + mp.log(t),
    ),
}
FAMILIES = {
    **{alpha(a): of_alpha(a) for a in ALPHAS},
    **{generalized_jensen_shannon(b): of_skewed(b, b) for b in GENERALISED},
    **{skewed_jensen_shannon(w, a): of_skewed(w, a) for w, a in SKEWED},
    skewed_forward_kl(0.1): of_skewed(1, 0.1),
    skewed_reverse_kl(0.1): of_skewed(0, 1 - 0.1),
}
ORACLES |= {divergence.name: oracle for divergence, oracle in FAMILIES.items()}
CURVATURE = {  # f''(1) where it is not 1
    "jensen_shannon": 0.25,
    "pearson_chi_squared": 2.0,
    "neyman_chi_squared": 2.0,
    "squared_hellinger": 0.25,
    "jeffreys": 2.0,
    "le_cam": 0.5,
    "chi_squared_kl": 2.0,
}
SYMMETRIC = ("jensen_shannon", "squared_hellinger", "jeffreys", "le_cam")
ALL = [d for d in vars(divergences).values() if isinstance(d, FDivergence)] + list(FAMILIES)

every = pytest.mark.parametrize("divergence", ALL, ids=attrgetter("name"))
seeds = given(seed=st.integers(0, 2**31 - 1))


def exact_perspective(divergence: FDivergence, log_p: float, log_q: float) -> mpmath.mpf:
    f, _ = ORACLES[divergence.name]
    return mp.exp(mp.mpf(log_q)) * f(mp.exp(mp.mpf(log_p) - mp.mpf(log_q)))


def exact_slope(divergence: FDivergence, u: float) -> mpmath.mpf:
    _, slope = ORACLES[divergence.name]
    return slope(mp.exp(mp.mpf(u)))


def exact_gap(divergence: FDivergence, u: float) -> mpmath.mpf:
    """f'(inf) - f'(e^u), for the bounded slopes: those of e^1e9 have reached their limit."""
    with mp.workdps(400):  # a gap of e^-600 in a slope of 1 is still seen
        return exact_slope(divergence, 1e9) - exact_slope(divergence, u)


def value_at_zero(divergence: FDivergence) -> float:
    """f(0), what an outcome costs that p excludes, per unit of q."""
    f, _ = ORACLES[divergence.name]
    found = float(f(mp.exp(mp.mpf(-1e9))))
    return found if found < 1e8 else math.inf


def two(seed: int, outcomes: int, dtype: torch.dtype, scale: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, outcomes, dtype=torch.float64, generator=generator)
    return logits.to(dtype).log_softmax(-1)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), log_scale=st.floats(-12, 2))
def test_every_term_is_non_negative(divergence, dtype, seed, log_scale):
    p, q = two(seed, 50, dtype, math.exp(log_scale))
    terms = divergence.perspective(p, q)
    assert (terms >= 0).all()
    assert divergence.exact(p, q) > 0


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_exactly_at_equality_and_only_there(divergence, dtype):
    (p, _) = two(0, 30, dtype, 5.0)
    assert (divergence.perspective(p, p) == 0).all()
    apart = torch.tensor([-1e-4, 1e-4, -1e-2, 1e-2, -3, 3], dtype=dtype)
    assert (divergence.perspective(apart - 5, torch.full_like(apart, -5)) > 0).all()


@every
def test_slope_is_the_derivative_and_the_published_formula(divergence):
    u = torch.linspace(-20, 20, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(divergence.f(u).sum(), u)
    # d f(e^u)/du = t·f'(t): near u = 20 with a bounded f' this is t times the slope.
    assert_close(divergence.f_prime(u) * u.exp(), slope, rtol=1e-9, atol=1e-12)
    want = [float(exact_slope(divergence, x)) for x in u.tolist()]
    assert_close(divergence.f_prime(u), torch.tensor(want, dtype=torch.float64), rtol=1e-9, atol=0)


@every
def test_wrong_parts_cannot_be_built(divergence):
    def shifted(u):
        return divergence.f_prime(u) + 1

    with pytest.raises(ValueError, match="f_prime is not the derivative"):
        replace(divergence, f_prime=shifted)
    with pytest.raises(ValueError, match="does not invert"):
        replace(divergence, log_f_prime_inverse=lambda s: 1.01 * divergence.log_f_prime_inverse(s))


@every
@settings(max_examples=50)
@given(x=st.floats(-30, 30))
def test_round_trip_to_the_digits_that_the_slope_kept(divergence, x):
    u = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    s = divergence.f_prime(u)
    (rate,) = torch.autograd.grad(s.sum(), u)
    lost = 1e-15 * max(1.0, abs(s.item())) / max(rate.item(), 1e-300)  # rounding of s, seen in u
    if lost < 0.1:
        assert divergence.log_f_prime_inverse(s).item() == pytest.approx(x, abs=8 * lost + 1e-12)


@every
def test_inverse_is_infinite_outside_the_range_of_the_slope(divergence):
    above, below = divergence.slope_at_infinity, divergence.slope_at_zero
    if above < math.inf:
        s = torch.tensor([above, above + 1], dtype=torch.float64)
        assert (divergence.log_f_prime_inverse(s) == math.inf).all()
    if below > -math.inf:
        s = torch.tensor([below, below - 1], dtype=torch.float64)
        assert (divergence.log_f_prime_inverse(s) == -math.inf).all()


@every
def test_slopes_at_the_ends_are_the_limits(divergence):
    low, high = divergence.f_prime(torch.tensor([-600.0, 600.0], dtype=torch.float64)).tolist()
    if divergence.slope_at_zero > -math.inf:
        assert low == pytest.approx(divergence.slope_at_zero, rel=1e-9)
    else:
        assert low < -50
    if divergence.name == alpha(1e-6).name:
        assert 599 < high < divergence.slope_at_infinity == 1e6
    elif divergence.slope_at_infinity < math.inf:
        assert high == pytest.approx(divergence.slope_at_infinity, rel=1e-9)
    else:
        assert high > 50


@every
def test_a_finite_slope_has_an_inverse_below_it(divergence):
    assert (divergence.inverse_below_slope is None) == (divergence.slope_at_infinity == math.inf)


@pytest.mark.parametrize(
    "divergence", [d for d in ALL if d.slope_at_infinity < math.inf], ids=attrgetter("name")
)
def test_inverse_below_slope_is_exact_far_below_rounding(divergence):
    u = torch.tensor([-3.0, -0.1, 0.0, 0.5, 5.0, 50.0, 200.0], dtype=torch.float64)
    gap = torch.tensor([float(exact_gap(divergence, x)) for x in u.tolist()], dtype=torch.float64)
    # A gap of 1e6 (alpha near 0) holds u only to its own rounding, 1e-16 / a.
    assert_close(divergence.inverse_below_slope(gap), u, rtol=1e-12, atol=1e-9)
    wide = gap > 1e-3
    s = divergence.slope_at_infinity - gap[wide]
    assert_close(divergence.log_f_prime_inverse(s), u[wide], rtol=0, atol=1e-8)


@every
def test_curvature_at_one(divergence):
    u = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (curvature,) = torch.autograd.grad(divergence.f_prime(u).sum(), u)  # t·f''(t) at t = 1
    assert curvature.item() == pytest.approx(CURVATURE.get(divergence.name, 1.0))
    for x in (1e-3, -1e-3):
        second_order = curvature.item() * x**2 / 2
        value = divergence.f(torch.tensor(x, dtype=torch.float64)).item()
        assert value == pytest.approx(second_order, rel=5e-3)


@settings(max_examples=30)
@seeds
def test_alpha_is_continuous_at_both_kullback_leiblers(seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    for near, limit in ((0.0, reverse_kl), (1.0, forward_kl)):
        assert_close(alpha(near).perspective(p, q), limit.perspective(p, q), rtol=1e-12, atol=0)
        for step in (1e-9, -1e-9):
            found = alpha(near + step).perspective(p, q)
            assert_close(found, limit.perspective(p, q), rtol=1e-7, atol=0)


@pytest.mark.parametrize("a", ALPHAS)
@settings(max_examples=30)
@seeds
def test_alpha_swaps_its_arguments_under_one_minus_a(a, seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    swapped = alpha(1 - a).perspective(q, p)
    assert_close(alpha(a).perspective(p, q), swapped, rtol=1e-12, atol=0)


def test_kullback_leiblers_swap_and_jensen_shannon_is_symmetric():
    p, q = two(0, 20, torch.float64, 3.0)
    assert_close(reverse_kl.exact(p, q), forward_kl.exact(q, p), rtol=1e-14, atol=0)
    assert_close(reverse_kl.exact(p, q), (p.exp() * (p - q)).sum(), rtol=1e-12, atol=0)
    assert_close(jensen_shannon.exact(p, q), jensen_shannon.exact(q, p), rtol=1e-14, atol=0)
    apart = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]], dtype=torch.float64)
    assert jensen_shannon.exact(apart[0], apart[1]).item() == pytest.approx(math.log(2), rel=1e-15)


STARTS = (0.0, -0.1, -1.0, -5.0, -20.0, -60.0)
SIZES = (1e-6, 1e-3, 0.01, 0.1, 0.3, 0.9, 1, 1.1, 1.9, 2.1, 3, 5, 10, 40, 80, 400, 1000)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exact_to_a_millionth_wherever_representable_else_infinite(divergence, dtype):
    limits = torch.finfo(dtype)
    cells = [(start, sign * size) for start in STARTS for size in SIZES for sign in (1, -1)]
    q = torch.tensor([start for start, _ in cells], dtype=dtype)
    p = torch.tensor([start + u for start, u in cells], dtype=dtype)
    numbers = zip(p.tolist(), q.tolist(), divergence.perspective(p, q).tolist(), strict=True)
    for log_p, log_q, got in numbers:
        want = exact_perspective(divergence, log_p, log_q)
        where = f"log p {log_p}, log q {log_q}"
        if want > limits.max:
            assert got == math.inf, where
        elif log_p == log_q:
            assert got == 0, where
        elif want > limits.tiny:
            assert got == pytest.approx(float(want), rel=1e-6), where
        else:
            assert 0 <= got <= 2 * limits.tiny, where


@every
def test_outcomes_without_probability(divergence):
    gone, half = torch.tensor([-math.inf]), torch.tensor([math.log(0.5)])
    assert divergence.perspective(gone, gone).item() == 0
    assert divergence.perspective(gone, half).item() == pytest.approx(
        0.5 * value_at_zero(divergence), rel=1e-6
    )
    assert divergence.perspective(half, gone).item() == pytest.approx(
        0.5 * divergence.slope_at_infinity, rel=1e-6
    )


@every
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), outputs=st.integers(1, 8))
def test_no_channel_adds_divergence(divergence, seed, outputs):
    p, q = two(seed, 8, torch.float64, 1.5)
    generator = torch.Generator().manual_seed(seed)
    channel = torch.rand(8, outputs, dtype=torch.float64, generator=generator) ** 4
    channel = (channel / channel.sum(-1, keepdim=True)).log()
    sent_p = (p[:, None] + channel).logsumexp(0)
    sent_q = (q[:, None] + channel).logsumexp(0)
    before, after = divergence.exact(p, q), divergence.exact(sent_p, sent_q)
    assert after <= before * (1 + 1e-12) + 1e-14
    if outputs == 1:
        assert after.item() == pytest.approx(0, abs=1e-14)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_finite_where_the_value_is(divergence, dtype):
    gone = -math.inf
    log_p = torch.tensor([0, -1, -1000, -2, gone, -1, gone, -1, -1 - 1e-6], dtype=dtype)
    log_q = torch.tensor([-1000, -1, 0, -40, -1, gone, gone, -1 - 1e-6, -1], dtype=dtype)
    log_p.requires_grad_()
    log_q.requires_grad_()
    value = divergence.perspective(log_p, log_q)
    finite = value.isfinite()
    slopes = torch.autograd.grad(value[finite].sum(), (log_p, log_q))
    assert not value.isnan().any()
    for slope in slopes:
        assert slope[finite].isfinite().all(), (value, slope)


@every
def test_gradient_of_the_divergence_matches_the_formula(divergence):
    log_p, log_q = two(3, 10, torch.float64)
    log_p = log_p.clone().requires_grad_()
    (slope,) = torch.autograd.grad(divergence.exact(log_p, log_q), log_p)
    want = log_p.exp() * divergence.f_prime(log_p - log_q)  # d q·f(p/q) / d log p
    assert_close(slope, want, rtol=1e-9, atol=1e-14)


@every
def test_numbers_keep_their_dtype(divergence):
    u = torch.tensor([-2.0, 0.5])
    assert divergence.f(u).dtype == divergence.f_prime(u).dtype == torch.float32
    assert divergence.log_f_prime_inverse(divergence.f_prime(u)).dtype == torch.float32


@pytest.mark.parametrize("a", [math.nan, math.inf, -math.inf])
def test_alpha_refuses_what_is_no_number(a):
    with pytest.raises(BadConfig, match="finite"):
        alpha(a)


@every
@settings(max_examples=50)
@given(x=st.floats(-8, 8), y=st.floats(-8, 8))
def test_conjugate_inequality(divergence, x, y):
    """f(t) + f*(s) >= t·s for every t and s, with f*(f'(t)) = t·f'(t) - f(t)."""
    u, v = torch.tensor([x, y], dtype=torch.float64)
    s = divergence.f_prime(v)
    conjugate = v.exp() * s - divergence.f(v)
    gap = divergence.f(u) + conjugate - u.exp() * s
    size = divergence.f(u) + conjugate.abs() + (u.exp() * s).abs()
    assert gap >= -1e-12 * size


@pytest.mark.parametrize("name", SYMMETRIC)
@settings(max_examples=30)
@seeds
def test_symmetric_ones(name, seed):
    p, q = two(seed, 20, torch.float64, 3.0)
    divergence = getattr(divergences, name)
    assert_close(divergence.perspective(p, q), divergence.perspective(q, p), rtol=1e-12, atol=0)


@settings(max_examples=30)
@seeds
def test_chi_squares_swap_and_hellinger_is_the_affinity(seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    pearson, neyman = divergences.pearson_chi_squared, divergences.neyman_chi_squared
    assert_close(pearson.exact(p, q), neyman.exact(q, p), rtol=1e-12, atol=0)
    assert_close(pearson.exact(p, q), (2 * p - q).exp().sum() - 1, rtol=1e-9, atol=1e-12)
    affinity = ((p + q) / 2).exp().sum()
    assert_close(divergences.squared_hellinger.exact(p, q), 1 - affinity, rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@seeds
def test_generalised_jensen_shannon_is_continuous_and_four_times_the_standard(seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    standard = 4 * jensen_shannon.perspective(p, q)
    assert_close(generalized_jensen_shannon(0.5).perspective(p, q), standard, rtol=1e-12, atol=0)
    for end, limit in ((1e-9, forward_kl), (1 - 1e-9, reverse_kl)):
        found = generalized_jensen_shannon(end).perspective(p, q)
        assert_close(found, limit.perspective(p, q), rtol=1e-5, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=30)
@seeds
def test_skewed_jensen_shannon_has_its_limits_and_special_cases(seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    for w, a, limit in (
        (0.3, 1e-9, forward_kl),
        (0.3, 1 - 1e-9, reverse_kl),
        (0.3, 0.3, generalized_jensen_shannon(0.3)),
        (1.0, 0.2, skewed_forward_kl(0.2)),
        (0.0, 0.8, skewed_reverse_kl(0.2)),
    ):
        found = skewed_jensen_shannon(w, a).perspective(p, q)
        assert_close(found, limit.perspective(p, q), rtol=1e-4, atol=1e-9)
    half = divergences.pearson_chi_squared.perspective(p, q) / 2
    assert_close(skewed_forward_kl(1 - 1e-8).perspective(p, q), half, rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (generalized_jensen_shannon, (-0.1,)),
        (generalized_jensen_shannon, (1.5,)),
        (generalized_jensen_shannon, (math.nan,)),
        (skewed_jensen_shannon, (2.0, 0.5)),
        (skewed_jensen_shannon, (0.0, 0.0)),
        (skewed_jensen_shannon, (1.0, 1.0)),
        (skewed_forward_kl, (1.0,)),
        (skewed_reverse_kl, (1.0,)),
    ],
)
def test_parameters_outside_their_domain_are_refused(make, arguments):
    with pytest.raises(BadConfig):
        make(*arguments)
