"""The log-space primitives against many digits."""

import math

import mpmath
import pytest
import torch
from torch.testing import assert_close

from collimate import _numerics

mp = mpmath.mp.clone()
mp.dps = 120
dtypes = pytest.mark.parametrize(
    ("dtype", "bar"), [(torch.float32, 5e-7), (torch.float64, 2e-15)], ids=["float32", "float64"]
)
SIZES = (1e-30, 1e-12, 1e-6, 1e-3, 0.1, 0.5, math.log(2), 0.7, 0.99, 1.01, 2.0, 5.0, 17.0, 80.0)


def slopes_of(value, *inputs):
    return torch.autograd.grad(value.sum(), inputs)


@dtypes
def test_log1mexp(dtype, bar):
    x = torch.tensor([-size for size in SIZES], dtype=dtype, requires_grad=True)
    value = _numerics.log1mexp(x)
    want = [float(mp.log1p(-mp.exp(mp.mpf(v)))) for v in x.tolist()]
    assert_close(value, torch.tensor(want, dtype=dtype), rtol=bar, atol=0)
    (slope,) = slopes_of(value, x)
    rate = [float(-1 / mp.expm1(-mp.mpf(v))) for v in x.tolist()]
    assert_close(slope, -torch.tensor(rate, dtype=dtype).abs(), rtol=4 * bar, atol=0)


def test_log1mexp_at_its_ends():
    assert _numerics.log1mexp(torch.tensor([0.0, -1000.0])).tolist() == [-math.inf, 0.0]


@dtypes
@pytest.mark.parametrize("a", [1e-9, 0.1, 0.5, 0.9, 1 - 1e-6])
def test_log_mix_with_one(dtype, bar, a):
    values = [sign * size for size in (*SIZES, 1000.0) for sign in (1, -1)]
    x = torch.tensor(values, dtype=dtype, requires_grad=True)
    value = _numerics.log_mix_with_one(x, a)
    want = [float(mp.log1p(mp.mpf(a) * mp.expm1(mp.mpf(v)))) for v in x.tolist()]
    assert_close(value, torch.tensor(want, dtype=dtype), rtol=8 * bar, atol=0)
    (slope,) = slopes_of(value, x)
    rate = [1 / (1 + (1 - mp.mpf(a)) / mp.mpf(a) * mp.exp(-mp.mpf(v))) for v in x.tolist()]
    assert_close(slope, torch.tensor([float(r) for r in rate], dtype=dtype), rtol=1e-5, atol=1e-37)
    assert _numerics.log_mix_with_one(torch.zeros(1, dtype=dtype), a).item() == 0


@dtypes
def test_absolute_difference_keeps_the_digits_of_the_logs(dtype, bar):
    log_b = torch.tensor([-3 + sign * size for size in SIZES for sign in (1, -1)], dtype=dtype)
    log_a = torch.full_like(log_b, -3)
    got = _numerics.absolute_difference(log_a, log_b)
    pairs_of = zip(log_a.tolist(), log_b.tolist(), strict=True)
    want = [float(abs(mp.exp(mp.mpf(x)) - mp.exp(mp.mpf(y)))) for x, y in pairs_of]
    assert_close(got, torch.tensor(want, dtype=dtype), rtol=20 * bar, atol=0)
    gone = torch.tensor([-math.inf], dtype=dtype)
    assert _numerics.absolute_difference(gone, gone).item() == 0
    assert _numerics.absolute_difference(log_a[:1], gone).item() == log_a[0].exp().item()


@dtypes
def test_kl_term_and_its_corners(dtype, bar):
    log_b = torch.tensor([-3 + sign * size for size in SIZES for sign in (1, -1)], dtype=dtype)
    log_a = torch.full_like(log_b, -3)
    value = _numerics.kl_term(log_a, log_b)
    assert (value >= 0).all()
    for got, x, y in zip(value.tolist(), log_a.tolist(), log_b.tolist(), strict=True):
        a, b, v = mp.exp(mp.mpf(x)), mp.exp(mp.mpf(y)), mp.mpf(y) - mp.mpf(x)
        assert got == pytest.approx(float(b - a - a * v), rel=20 * bar, abs=1e-45)
    gone = torch.tensor([-math.inf], dtype=dtype)
    half = torch.tensor([math.log(0.5)], dtype=dtype)
    assert _numerics.kl_term(gone, gone).item() == 0
    assert _numerics.kl_term(gone, half).item() == pytest.approx(0.5)
    assert _numerics.kl_term(half, gone).item() == math.inf
    for a, b in ((gone, gone), (gone, half)):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        assert all(s.isfinite().all() for s in slopes_of(_numerics.kl_term(a, b), a, b))


def test_sum_of_kl_terms_is_the_kl():
    p, q = torch.randn(2, 40, dtype=torch.float64).log_softmax(-1)
    assert_close(_numerics.kl_term(p, q).sum(), (p.exp() * (p - q)).sum(), rtol=1e-12, atol=0)


@dtypes
def test_expm1_minus(dtype, bar):
    x = torch.tensor([s * v for v in SIZES if v <= 2 for s in (1, -1)], dtype=dtype)
    want = [float(mp.exp(mp.mpf(v)) - 1 - mp.mpf(v)) for v in x.tolist()]
    assert_close(
        _numerics.expm1_minus(x),
        torch.tensor(want, dtype=torch.float64).to(dtype),
        rtol=bar,
        atol=0,
    )


@pytest.mark.parametrize("a", [-2.0, 0.0, 0.3, 1.0])
def test_exp_mixture_keeps_the_digits_of_large_exponents(a):
    log_p, log_q = torch.tensor([-40.1, -3.3, 12.7]), torch.tensor([-39.9, 1.1, 20.3])
    got = _numerics.exp_mixture(log_p, log_q, a)
    pairs = zip(log_p.tolist(), log_q.tolist(), strict=True)
    want = [float(mp.exp((1 - mp.mpf(a)) * mp.mpf(x) + mp.mpf(a) * mp.mpf(y))) for x, y in pairs]
    assert got.dtype == torch.float32
    assert_close(got, torch.tensor(want, dtype=torch.float64).float(), rtol=1e-7, atol=0)
