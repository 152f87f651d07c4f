"""The checks of annotations under which all tests run: also of functions within functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from beartype_tower import check
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor


def made(hint: Any, default: Any = None) -> Callable[..., Any]:
    def inner(x, y=default):
        return x, y

    inner.__annotations__ = {"x": hint, "return": tuple}
    return jaxtyped(typechecker=check)(inner)


def test_a_nested_function_is_checked_each_time_it_is_made() -> None:
    for _ in range(3):
        inner = made(int)
        assert inner(1) == (1, None)
        with pytest.raises(TypeCheckError):
            inner("one")


def test_by_the_hints_that_it_has_then() -> None:
    for _ in range(2):
        assert made(int)(1) == (1, None)
        assert made(str)("one") == ("one", None)
        with pytest.raises(TypeCheckError):
            made(str)(1)
        with pytest.raises(TypeCheckError):
            made(int)("one")


def test_with_the_values_that_it_closes_over() -> None:
    def plus(k: int) -> Callable[[float], float]:
        @jaxtyped(typechecker=check)
        def inner(x: float) -> float:
            return x + k

        return inner

    assert [plus(k)(1) for k in range(3)] == [1, 2, 3]  # an int is a float


def test_defaults_are_its_own() -> None:
    assert [made(int, default)(1)[1] for default in (1, True, 1.0, "a")] == [1, True, 1.0, "a"]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2)])
def test_shapes_are_those_of_the_call(shape: tuple[int, int]) -> None:
    def outer() -> Callable[..., Any]:
        @jaxtyped(typechecker=check)
        def inner(a: Float[Tensor, "m n"], b: Float[Tensor, "n m"]) -> Float[Tensor, "m m"]:
            return a @ b

        return inner

    a = torch.ones(shape)
    for _ in range(2):
        assert outer()(a, a.mT).shape == (shape[0], shape[0])
        with pytest.raises(TypeCheckError):
            outer()(a, a)
