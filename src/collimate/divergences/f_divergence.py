"""The record of an f-divergence: checked data, not a class hierarchy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FDivergence:
    """D_f(p‖q) = E_q[f(p/q)] for convex f with f(1) = f'(1) = 0; u = log p - log q in nats.

    perspective: (log p, log q) -> q·f(p/q) >= 0, the one definition that the rest follows from.
    f_prime: u -> f'(e^u). log_f_prime_inverse: s -> u with f'(e^u) = s, +inf from
    `slope_at_infinity` on, -inf up to `slope_at_zero`. inverse_below_slope: gap -> u with
    f'(e^u) = slope_at_infinity - gap, exact for gaps far below rounding; None if that slope is
    infinite. All are elementwise. formula: f'(t) as text, t = e^u = p/q.

    Errors: ValueError at construction if f_prime is not the derivative of f, or
    log_f_prime_inverse not its inverse: a wrong part cannot be imported.

    >>> from collimate.divergences import reverse_kl
    >>> reverse_kl.exact(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log())
    tensor(0.5108)
    """

    name: str
    perspective: Callable[[Tensor, Tensor], Tensor]
    f_prime: Elementwise
    log_f_prime_inverse: Elementwise
    slope_at_zero: float
    slope_at_infinity: float
    source: str
    inverse_below_slope: Elementwise | None = None
    formula: str = ""

    def __post_init__(self) -> None:
        u = torch.tensor([-1.5, -0.3, 0.0, 0.7, 2.0], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(self.f(u).sum(), u)
        with torch.no_grad():
            if not torch.allclose(self.f_prime(u) * u.exp(), slope, atol=1e-12):
                raise ValueError(f"{self.name}: f_prime is not the derivative of f")
            if not torch.allclose(self.log_f_prime_inverse(self.f_prime(u)), u, atol=1e-9):
                raise ValueError(f"{self.name}: log_f_prime_inverse does not invert f_prime")

    def f(self, u: Float[Tensor, "*any"], /) -> Float[Tensor, "*any"]:
        """f(e^u), the perspective at q = 1; +inf where it exceeds the dtype."""
        return self.perspective(u, torch.zeros_like(u))

    def exact(
        self, log_p: Float[Tensor, "*batch outcome"], log_q: Float[Tensor, "*batch outcome"]
    ) -> Float[Tensor, "*batch"]:
        """D_f(p‖q) in nats: the sum of non-negative perspectives over the last dimension.

        Outcomes that q excludes (log q = -inf) count with p·f'(inf), those that p excludes with
        q·f(0).
        """
        return self.perspective(log_p, log_q).sum(-1)


def scaled(divergence: FDivergence, by: float, *, name: str, source: str) -> FDivergence:
    """by·D under another name; by > 0.

    >>> from collimate.divergences import alpha
    >>> half_pearson = alpha(-1.0)
    >>> pearson = scaled(half_pearson, 2, name="pearson", source="")
    >>> round(pearson.f(torch.tensor(2.0).log()).item(), 5)
    1.0
    """
    below = divergence.inverse_below_slope
    return FDivergence(
        name=name,
        perspective=lambda log_p, log_q: by * divergence.perspective(log_p, log_q),
        f_prime=lambda u: by * divergence.f_prime(u),
        log_f_prime_inverse=lambda s: divergence.log_f_prime_inverse(s / by),
        slope_at_zero=by * divergence.slope_at_zero,
        slope_at_infinity=by * divergence.slope_at_infinity,
        inverse_below_slope=None if below is None else lambda gap: below(gap / by),
        source=source,
        formula=f"{by}·({divergence.formula})" if divergence.formula else "",
    )
