"""What a resumed run must have in common with the run it continues."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from collimate import divergences, methods
from collimate.jobs.identity import describe


def closure(scale: Any) -> Callable[[float], Any]:
    return lambda x: x * scale


def scaled(x: float, scale: float = 1.0) -> float:
    return x * scale


class Holder:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (methods.dpo(0.1), methods.dpo(0.1 + 1e-18)),
        (closure(2.0), closure(2.0)),
        (closure(torch.tensor([1.0, 2.0])), closure(torch.tensor([1.0, 2.0]))),
        (partial(scaled, scale=2.0), partial(scaled, scale=2.0)),
        (Holder({"a": [1, 2]}), Holder({"a": [1, 2]})),
    ],
    ids=["method", "closure", "tensor", "partial", "object"],
)
def test_the_same_is_the_same(a: Any, b: Any) -> None:
    assert describe(a) == describe(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (methods.dpo(0.1), methods.dpo(0.1000000000000001)),
        (methods.dpo(0.1), methods.ipo(0.1)),
        (methods.f_dpo(0.1, divergences.alpha(0.5)), methods.f_dpo(0.1, divergences.alpha(0.4))),
        (closure(2.0), closure(3.0)),
        (closure(torch.tensor([1.0, 2.0])), closure(torch.tensor([1.0, 2.5]))),
        (closure(torch.ones(2)), closure(torch.ones(2, dtype=torch.float64))),
        (closure(closure(2.0)), closure(closure(3.0))),
        (partial(scaled, scale=2.0), partial(scaled, scale=3.0)),
        (Holder({"a": [1, 2]}), Holder({"a": [1, 3]})),
        (Holder(closure(2.0)), Holder(closure(3.0))),
    ],
    ids=[
        "last bit", "loss", "divergence", "closure", "tensor", "dtype", "nested closure",
        "partial", "object", "object with a closure",
    ],
)  # fmt: skip
def test_another_is_another(a: Any, b: Any) -> None:
    assert describe(a) != describe(b)


SCALE = 2.0


def helper(x: float) -> float:
    return x * SCALE


def through_a_helper(x: float) -> float:
    return helper(x) + torch.tensor(0.0).item()


@pytest.mark.parametrize("function", [helper, through_a_helper])
def test_a_constant_of_the_functions_file_counts(
    function: Callable[[float], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = describe(function)
    assert describe(function) == before
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert describe(function) != before


def test_an_object_that_holds_itself_is_described() -> None:
    loop = Holder(None)
    loop.inner = loop
    assert describe(loop) == describe(loop)
