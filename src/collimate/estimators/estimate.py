"""The record of an expectation estimated from samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from collimate._checks import BadData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A mean over samples: values [sample], mean and standard_error in the unit of the values.

    standard_error: s/√n, s² = Σ(value - mean)²/(n - 1), of independent samples. Several samples of
    one prompt are not independent when prompts differ: give `values` and the prompts to
    `diagnostics.bootstrap_mean` instead. NaN-free: +inf where a value is, and of a single sample.
    """

    values: Float[Tensor, " sample"]
    mean: float
    standard_error: float


def estimate(values: Float[Tensor, " sample"]) -> Estimate:
    """Mean and standard error of values without NaN or -inf.

    >>> import torch
    >>> estimate(torch.tensor([1.0, 2.0, 3.0])).mean
    2.0
    """
    count = len(values)
    mean = float(values.mean())
    if count < 2 or math.isinf(mean):
        return Estimate(values=values, mean=mean, standard_error=math.inf)
    return Estimate(values=values, mean=mean, standard_error=float(values.std()) / count**0.5)


def checked_log_probs(name: str, log_probs: Float[Tensor, " sample"], *, drawn: bool) -> Tensor:
    """Log-probs in float64; `drawn`: of the distribution that drew the samples, hence above -inf.

    Errors: BadData for NaN, +inf, and -inf where drawn.

    >>> import torch
    >>> checked_log_probs("log_p", torch.tensor([-1.0]), drawn=True).dtype
    torch.float64
    """
    if log_probs.isnan().any() or (log_probs == math.inf).any():
        raise BadData(f"{name} must be log-probs in nats, got NaN or +inf")
    if drawn and (log_probs == -math.inf).any():
        raise BadData(
            f"{name} is -inf for a sample, which that distribution cannot have drawn: give the "
            "log-probs of the samples under the distribution they were drawn from"
        )
    return log_probs.double()
