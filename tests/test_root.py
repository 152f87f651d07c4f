"""The root finder under the lab's optima and the inverses without a formula."""

import math

import pytest
import torch
from torch.testing import assert_close

from collimate._root import rising_inverse, root


@pytest.mark.parametrize("power", [1, 3, 9, 0.2])
def test_many_roots_at_once_from_tiny_to_huge(power):
    want = torch.tensor([0.0, 1e-12, 1e-3, 1.0, 17.0, 1e9], dtype=torch.float64)
    calls = []

    def rising(w):
        calls.append(1)
        return w**power - want**power

    found = root(rising, torch.zeros_like(want), 0.0)
    assert_close(found, want, rtol=1e-14, atol=1e-30)
    assert len(calls) < 400


def test_an_infinite_value_is_on_the_right():
    found = root(
        lambda w: torch.where(w < 0.3, -1.0, torch.inf).double(), torch.zeros(1).double(), 0.0
    )
    assert found.item() < 0.3


def test_tolerance_saves_evaluations():
    def count(tolerance):
        calls = []

        def rising(w):
            calls.append(1)
            return torch.expm1(w) - 5

        root(rising, torch.zeros(1, dtype=torch.float64), tolerance)
        return len(calls)

    assert count(1e-10) < 16 < count(0.0) + 10


def test_rising_inverse_finds_the_last_bits_and_the_ends():
    x = torch.tensor([-700.0, -1.0, 0.0, 1e-3, 50.0, 9e4], dtype=torch.float64)
    assert_close(rising_inverse(lambda u: 3 * u, 3 * x), x, rtol=1e-14, atol=1e-18)
    ends = rising_inverse(torch.tanh, torch.tensor([-2.0, 2.0]))
    assert ends.tolist() == [-math.inf, math.inf]
    assert ends.dtype == torch.float32
