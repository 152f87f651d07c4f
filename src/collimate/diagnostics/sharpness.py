"""Sharpness: the largest eigenvalue of a loss's Hessian, by power iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from collimate._checks import BadConfig, BadData, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharpness:
    """λ_max of the Hessian as power iteration left it.

    value: the Rayleigh quotient. residual: ‖Hv - value·v‖ of a unit v: some eigenvalue lies within
    it of value. products: Hessian-vector products taken. Gradient descent with step eta is stable
    on a quadratic while value <= 2/eta.

    >>> Sharpness(value=4.0, residual=0.0, products=3).value
    4.0
    """

    value: float
    residual: float
    products: int


def sharpness(
    loss: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    steps: int = 100,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Sharpness:
    """λ_max(H), H = ∂²loss/∂θ², by power iteration v ← Hv/‖Hv‖ on Hessian-vector products.

    Power iteration finds the eigenvalue of largest size. Where that one is negative, it is run again
    on H + |λ|·1, whose largest eigenvalue is λ_max + |λ|. loss: makes the scalar loss anew, the same
    each time (no dropout). steps: at most so many products per run; it ends early once the residual
    is below tolerance·|λ|. Close eigenvalues converge slowly, and the value is then too low: read
    the residual. In the dtype of the parameters, two backward passes per product; no `.grad` is
    written.

    Errors: BadConfig unless steps >= 1 and tolerance > 0; BadData for parameters without gradient,
    a loss that is not a scalar, or a product that is not finite. Source: rosenfeld:24.

    >>> theta = torch.zeros(2, requires_grad=True)
    >>> found = sharpness(lambda: 2 * theta[0] ** 2 - 3 * theta[1] ** 2, [theta])  # eigenvalues 4, -6
    >>> round(found.value, 3)
    4.0
    """
    if isinstance(steps, bool) or steps < 1:
        raise BadConfig(f"steps must be a whole number of at least 1, got {steps!r}")
    positive("tolerance", tolerance)
    over = list(parameters)
    if not over or not all(parameter.requires_grad for parameter in over):
        raise BadData("give at least one parameter, all of which require a gradient")
    generator = torch.Generator().manual_seed(seed)
    start = [torch.randn(p.shape, generator=generator).to(p) for p in over]
    found = _power(loss, over, start, steps, tolerance, shift=0.0)
    if found.value >= 0:
        return found
    shift = -found.value
    top = _power(loss, over, start, steps, tolerance, shift=shift)
    return Sharpness(
        value=top.value - shift, residual=top.residual, products=found.products + top.products
    )


def _power(
    loss: Callable[[], Tensor],
    over: list[Tensor],
    start: list[Tensor],
    steps: int,
    tolerance: float,
    *,
    shift: float,
) -> Sharpness:
    """The eigenvalue of largest size of H + shift·1."""
    v = start
    value = residual = float("inf")
    for taken in range(1, steps + 1):
        norm = _dot(v, v) ** 0.5
        if norm == 0:  # H takes the start to 0: all of it lies in the kernel
            return Sharpness(value=0.0, residual=0.0, products=taken - 1)
        v = [x / norm for x in v]
        product = [h + shift * x for h, x in zip(_hessian_vector(loss, over, v), v, strict=True)]
        value = _dot(v, product)
        gap = [h - value * x for h, x in zip(product, v, strict=True)]
        residual = _dot(gap, gap) ** 0.5
        if residual <= tolerance * abs(value):
            return Sharpness(value=value, residual=residual, products=taken)
        v = product
    return Sharpness(value=value, residual=residual, products=steps)


def _hessian_vector(
    loss: Callable[[], Tensor], over: list[Tensor], v: list[Tensor]
) -> list[Tensor]:
    with torch.enable_grad():
        total = loss()
        if total.dim() or not total.requires_grad:
            raise BadData(
                f"the loss must be a scalar that depends on the parameters, got {list(total.shape)}"
            )
        first: list[Tensor | None] = list(
            torch.autograd.grad(total, over, create_graph=True, allow_unused=True)
        )
        curved = [
            (g, x) for g, x in zip(first, v, strict=True) if g is not None and g.requires_grad
        ]
        second: list[Tensor | None] = [None] * len(over)
        if curved:  # else the loss is linear
            slopes, along = zip(*curved, strict=True)
            second = list(torch.autograd.grad(slopes, over, along, allow_unused=True))
    product = [torch.zeros_like(x) if h is None else h for h, x in zip(second, v, strict=True)]
    if not all(h.isfinite().all() for h in product):
        raise BadData("a product with the Hessian is not finite: the loss has no second derivative")
    return product


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return sum((x.double() * y.double()).sum().item() for x, y in zip(a, b, strict=True))
