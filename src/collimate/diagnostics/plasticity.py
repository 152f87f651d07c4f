"""Plasticity: how many units still answer to their input."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate._checks import at_least_zero
from collimate.diagnostics._shapes import require_finite, require_some


def active_fraction(activations: Float[Tensor, "*batch unit"]) -> float:
    """Share of entries above 0, over batch and units, in [0, 1]: FAU of activations after ReLU.

    It falls with mere sparsity too: read it beside how fast the network still learns, and
    `dormant_fraction`, which does not.

    Errors: BadData without entries or for values that are not finite. Source: ma:24.

    >>> import torch
    >>> active_fraction(torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
    0.75
    """
    require_some("activations", activations, "unit")
    require_finite("activations", activations)
    return (activations > 0).double().mean().item()


def dormant_fraction(activations: Float[Tensor, "*batch unit"], *, threshold: float = 0.0) -> float:
    """Share of units i with E|a_i| <= threshold·mean_j E|a_j|, E over the batch, in [0, 1].

    threshold: 0 counts units that never answer. A layer that is silent throughout is all dormant.

    Errors: BadData as in `active_fraction`; BadConfig for a threshold below 0. Source: sokar:23.

    >>> import torch
    >>> dormant_fraction(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    0.5
    """
    at_least_zero("threshold", threshold)
    require_some("activations", activations, "unit")
    require_finite("activations", activations)
    mean = activations.detach().double().abs().flatten(0, -2).mean(0)
    return (mean <= threshold * mean.mean()).double().mean().item()
