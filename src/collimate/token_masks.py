"""What a module reads of each token from the hidden states of the reference's layers.

A `FromLayers` is a signal whose number does not come from logits: the engine makes its module, gives
it the reference's hidden states at each answer token, and trains its weights, if it has any, beside
the policy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collimate._checks import BadComposition


@dataclass(frozen=True, slots=True)
class FromLayers:
    """A signal read from the reference's hidden states, one per layer, where each token is predicted.

    make: (number of layers, width) -> module of hidden states [layer, token, width] -> [token].
    """

    name: str
    make: Callable[[int, int], nn.Module]
    against: Literal["reference"] = "reference"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """BadComposition: logits do not hold it."""
        raise BadComposition(
            f"the signal '{self.name}' is read from hidden states, not from logits"
        )


class SparseMask(nn.Module):
    """max(0, Σ_g c_g·max(0, w_g·h_g + b_g) + c): layers g, weights w_g, b_g, c_g, c, all trained.

    Starts at 1 for every token up to small weights w: a mask that starts at 0 would stay there.
    Source: christopoulou:25 (one linear map per layer, mixed linearly, ReLU after each).

    >>> SparseMask(2, 4)(torch.zeros(2, 3, 4)).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(layers, width) * 0.1 / width)
        self.bias = nn.Parameter(torch.ones(layers))
        self.mix = nn.Parameter(torch.full((layers,), 1.0 / layers))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Float[Tensor, "layer token width"]) -> Float[Tensor, " token"]:
        """One mask per token, >= 0."""
        read = torch.einsum("gtw,gw->tg", hidden, self.weight) + self.bias
        return (read.relu() @ self.mix + self.offset).relu()


class Activation(nn.Module):
    """exp(mean over layers of log(mean over the width of |h|)): how strongly a token is represented.

    A geometric mean, so that a layer of larger numbers weighs as any other. Nothing is trained.

    >>> Activation(2, 3)(torch.tensor([[[2.0, -2.0, 2.0]], [[8.0, 8.0, -8.0]]])).tolist()
    [4.0]
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()

    def forward(self, hidden: Float[Tensor, "layer token width"]) -> Float[Tensor, " token"]:
        """One number per token, >= 0."""
        return hidden.abs().mean(-1).log().mean(0).exp()


def sparse_mask(name: str) -> FromLayers:
    """A learned mask, >= 0, of that name.

    >>> sparse_mask("reward_mask").against
    'reference'
    """
    return FromLayers(name, SparseMask)


activation = FromLayers("activation", Activation)
"""How strongly the reference represents a token, > 0."""


__all__ = ["Activation", "FromLayers", "SparseMask", "activation", "sparse_mask"]
