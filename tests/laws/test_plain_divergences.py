"""Laws of divergences that have no f, against sixty-digit arithmetic."""

import math
from operator import attrgetter

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from collimate import divergences
from collimate._checks import BadConfig
from collimate.divergences import PlainDivergence, cauchy_schwarz, renyi, reverse_kl
from collimate.divergences import total_variation as variation
from tests.laws.test_divergences import two

mp = mpmath.mp.clone()
mp.dps = 60
ORDERS = (0.2, 0.5, 1 - 1e-6, 1.0, 2.0, 7.5)
ALL = [d for d in vars(divergences).values() if isinstance(d, PlainDivergence)]
ALL.remove(divergences.none)  # which is no divergence, but the want of one
ALL += [renyi(order) for order in ORDERS]

every = pytest.mark.parametrize("divergence", ALL, ids=attrgetter("name"))
seeds = given(seed=st.integers(0, 2**31 - 1))


def exact(divergence, log_p, log_q):
    """The definition, of the numbers as they are, normalised."""
    p = [mp.exp(mp.mpf(x)) for x in log_p]
    q = [mp.exp(mp.mpf(x)) for x in log_q]
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    both = list(zip(p, q, strict=True))
    if divergence.name == "total_variation":
        return sum(abs(x - y) for x, y in both) / 2
    if divergence.name == "cauchy_schwarz":
        squares = mp.log(sum(x * x for x in p)) + mp.log(sum(y * y for y in q))
        return squares / 2 - mp.log(sum(x * y for x, y in both))
    order = mp.mpf(divergence.name.removeprefix("renyi(").removesuffix(")"))
    if abs(order - 1) < 1e-9:
        return sum(x * mp.log(x / y) for x, y in both)
    return mp.log(sum(x**order * y ** (1 - order) for x, y in both)) / (order - 1)


@every
@settings(max_examples=40)
@given(seed=st.integers(0, 2**31 - 1), log_scale=st.floats(-9, 6.5))
def test_the_definition_near_and_far(divergence, seed, log_scale):
    p, _ = two(seed, 12, torch.float64, 1.0)
    step = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    q = (p + math.exp(log_scale) * step).log_softmax(-1)
    want = float(exact(divergence, p.tolist(), q.tolist()))
    assert divergence.exact(p, q).item() == pytest.approx(want, rel=1e-6, abs=1e-300)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_zero_at_equality_and_positive_elsewhere(divergence, dtype):
    p, q = two(1, 30, dtype, 3.0)
    assert divergence.exact(p, p).item() == 0
    assert divergence.exact(p, q).item() > 0
    near = (p.double() + 1e-3 * q.double()).log_softmax(-1).to(dtype)
    assert divergence.exact(p, near).item() > 0
    assert divergence.exact(p, q).dtype == dtype


@pytest.mark.parametrize(
    "divergence", [d for d in ALL if d is not cauchy_schwarz], ids=attrgetter("name")
)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), outputs=st.integers(1, 8))
def test_no_channel_adds_divergence(divergence, seed, outputs):
    p, q = two(seed, 8, torch.float64, 1.5)
    channel = torch.rand(
        8, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    channel = (channel**4 / (channel**4).sum(-1, keepdim=True)).log()
    sent_p, sent_q = ((x[:, None] + channel).logsumexp(0) for x in (p, q))
    assert divergence.exact(sent_p, sent_q) <= divergence.exact(p, q) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("divergence", [variation, cauchy_schwarz], ids=attrgetter("name"))
@seeds
def test_symmetric_ones(divergence, seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    assert_close(divergence.exact(p, q), divergence.exact(q, p), rtol=1e-12, atol=0)


@seeds
def test_renyi_rises_with_its_order_and_passes_the_kullback_leibler(seed):
    p, q = two(seed, 20, torch.float64, 2.0)
    values = [renyi(order).exact(p, q).item() for order in ORDERS]
    assert values == sorted(values)
    assert_close(renyi(1.0).exact(p, q), reverse_kl.exact(p, q), rtol=1e-14, atol=0)
    assert_close(renyi(1 + 1e-7).exact(p, q), reverse_kl.exact(p, q), rtol=1e-5, atol=0)
    affinity = ((p + q) / 2).exp().sum()
    assert_close(renyi(0.5).exact(p, q), -2 * affinity.log(), rtol=1e-9, atol=1e-12)


@every
def test_outcomes_without_probability(divergence):
    half = math.log(0.5)
    p = torch.tensor([half, half, -math.inf], dtype=torch.float64)
    q = torch.tensor([half, -math.inf, half], dtype=torch.float64)
    value = divergence.exact(p, q).item()
    order = float(divergence.name[6:-1]) if divergence.name.startswith("renyi") else 0
    want = {"total_variation": 0.5, "cauchy_schwarz": math.log(2)}.get(divergence.name)
    if want is None:
        want = math.inf if order >= 1 or order > 0.9999 else math.log(0.5) / (order - 1)
    if order == pytest.approx(1, abs=1e-5) and order < 1:
        assert value > 1e5
    else:
        assert value == pytest.approx(want, rel=1e-12)
    assert divergence.exact(q, q).item() == 0


@every
def test_gradients_are_finite_and_right(divergence):
    p, q = two(5, 12, torch.float64, 1.0)
    logits = p.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: divergence.exact(x.log_softmax(-1), q), logits)
    (at_equality,) = torch.autograd.grad(divergence.exact(logits.log_softmax(-1), p), logits)
    assert at_equality.abs().max() < 1e-12


@pytest.mark.parametrize("order", [0.0, -1.0, math.inf, math.nan])
def test_an_order_outside_its_domain_is_refused(order):
    with pytest.raises(BadConfig, match="order"):
        renyi(order)


def test_none_is_nothing_whatever_the_distributions():
    p, q = two(0, 5, torch.float32)
    assert divergences.none.exact(torch.stack([p, q]), torch.stack([q, q])).tolist() == [0.0, 0.0]
