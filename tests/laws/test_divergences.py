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
from collimate.divergences import FDivergence, alpha, forward_kl, jensen_shannon, reverse_kl

ALPHAS = (-3.0, -1.0, 0.0, 1e-6, 0.3, 0.5, 0.7, 1 - 1e-6, 1.0, 2.0)
FAMILY = {alpha(a): a for a in ALPHAS}
ALL = [d for d in vars(divergences).values() if isinstance(d, FDivergence)] + list(FAMILY)
# Each instance as an alpha, None for Jensen-Shannon. A new divergence needs its oracle below.
ALPHA_OF = {"reverse_kl": 0.0, "forward_kl": 1.0, "jensen_shannon": None}
ALPHA_OF |= {divergence.name: a for divergence, a in FAMILY.items()}

every = pytest.mark.parametrize("divergence", ALL, ids=attrgetter("name"))
seeds = given(seed=st.integers(0, 2**31 - 1))
mp = mpmath.mp.clone()
mp.dps = 60


def exact_perspective(divergence: FDivergence, log_p: float, log_q: float) -> mpmath.mpf:
    x, y, a = mp.mpf(log_p), mp.mpf(log_q), ALPHA_OF[divergence.name]
    p, q = mp.exp(x), mp.exp(y)
    if a is None:
        m = (p + q) / 2
        return (p * mp.log(p / m) + q * mp.log(q / m)) / 2
    if a == 0:
        return p * (x - y) - p + q
    if a == 1:
        return q * (y - x) - q + p
    a = mp.mpf(a)
    return ((1 - a) * p + a * q - mp.exp((1 - a) * x + a * y)) / (a * (1 - a))


def exact_slope(divergence: FDivergence, u: float) -> mpmath.mpf:
    t, a = mp.exp(mp.mpf(u)), ALPHA_OF[divergence.name]
    if a is None:
        return mp.log(2 * t / (1 + t)) / 2
    return mp.log(t) if a == 0 else (1 - t ** -mp.mpf(a)) / mp.mpf(a)


def exact_gap(divergence: FDivergence, u: float) -> mpmath.mpf:
    """f'(inf) - f'(e^u) without cancellation, for the bounded slopes."""
    t, a = mp.exp(mp.mpf(u)), ALPHA_OF[divergence.name]
    return mp.log1p(1 / t) / 2 if a is None else t ** -mp.mpf(a) / mp.mpf(a)


def value_at_zero(divergence: FDivergence) -> float:
    """f(0), what an outcome costs that p excludes, per unit of q."""
    a = ALPHA_OF[divergence.name]
    if a is None:
        return math.log(2) / 2
    return 1 / (1 - a) if a < 1 else math.inf


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
def test_inverse_below_slope_is_exact_far_below_rounding(divergence):
    assert (divergence.inverse_below_slope is None) == (divergence.slope_at_infinity == math.inf)
    if divergence.inverse_below_slope is None:
        return
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
    assert curvature.item() == pytest.approx(0.25 if divergence.name == "jensen_shannon" else 1.0)
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
