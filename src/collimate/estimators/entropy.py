"""Entropy from samples."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._checks import same_length
from collimate.estimators.estimate import Estimate, checked_log_probs, estimate


def entropy(log_p: Float[Tensor, " sample"], /) -> Estimate:
    """H(p) = E_p[-log p(y)] from samples of p: values -log p(y), in nats.

    Unbiased. log_p: of samples drawn from p itself, whole answers or single tokens; of tempered or
    top-k samples the mean is a cross-entropy, unless log_p is that sampler's.

    Errors: BadData for no sample, NaN, or a log-prob of ±inf. Source: shannon:48.

    >>> import torch
    >>> entropy(torch.tensor([0.5, 0.5]).log()).mean == torch.tensor(2.0).log().item()
    True
    """
    same_length(log_p=len(log_p))
    return estimate(-checked_log_probs("log_p", log_p, drawn=True))
