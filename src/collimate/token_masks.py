"""What a module reads of each token from the hidden states of the reference's layers.

A `FromLayers` is a signal whose number does not come from logits: the engine makes its module, gives
it the reference's hidden states at each answer token, and trains its weights, if it has any, beside
the policy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from collimate._checks import BadComposition
from collimate.axes import Signal

_ROUNDING = 1e-3  # of the states' size: bfloat16 centres no better; real means spread tenfold


@dataclass(frozen=True, slots=True)
class FromLayers:
    """A signal read from the reference's hidden states, one per layer, where each token is predicted.

    make: (number of layers, width) -> module of hidden states [layer, token, width] and of the
    number of each token's answer [token] -> [token].
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


def reads_layers(signals: Sequence[Signal]) -> bool:
    """Whether any of the signals is read from hidden states.

    >>> reads_layers([sparse_mask("reward_mask")])
    True
    """
    return any(isinstance(signal, FromLayers) for signal in signals)


class SparseMask(nn.Module):
    """max(0, Σ_g c_g·max(0, w_g·norm(h_g) + b_g)): layers g; w_g, b_g, c_g and the norm are trained.

    norm: one layer norm for all layers. Starts at 1 for every token up to small weights w, which is
    ours: a mask that starts at 0 everywhere would stay there. Source: christopoulou:25 and its code,
    which drops 1 % of the masks in training besides.

    >>> SparseMask(2, 4)(torch.zeros(2, 3, 4), torch.zeros(3).long()).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.weight = nn.Parameter(torch.randn(layers, width) * 0.1 / width)
        self.bias = nn.Parameter(torch.ones(layers))
        self.mix = nn.Parameter(torch.full((layers,), 1.0 / layers))

    def forward(
        self, hidden: Float[Tensor, "layer token width"], answer: Int[Tensor, " token"]
    ) -> Float[Tensor, " token"]:
        """One mask per token, >= 0; tokens do not see each other."""
        read = torch.einsum("gtw,gw->tg", self.norm(hidden), self.weight) + self.bias
        return (read.relu() @ self.mix).relu()


class ActivationMask(nn.Module):
    """Mean over layers of (a_t - min a)/(max a - min a), a_t the mean of h_t over the width.

    min and max are over the tokens of the answer; where they are one up to rounding (an answer of one
    token, states that a norm without weights has centred), the layer says 1. Nothing is trained.
    Source: christopoulou:25 (its code also reads attention and MLP inside the layers, which differ by
    architecture; its first step, standardising, changes nothing).

    >>> hidden = torch.tensor([[[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]])
    >>> ActivationMask(1, 2)(hidden, torch.zeros(3).long()).tolist()
    [0.0, 1.0, 0.5]
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()

    def forward(
        self, hidden: Float[Tensor, "layer token width"], answer: Int[Tensor, " token"]
    ) -> Float[Tensor, " token"]:
        """One mask per token, in [0, 1]."""
        strength = hidden.mean(-1)
        owner = answer.expand_as(strength)
        ends = strength.new_zeros(len(strength), int(answer.max()) + 1)
        low, high = (
            ends.scatter_reduce(1, owner, strength, end, include_self=False).gather(1, owner)
            for end in ("amin", "amax")
        )
        even = high - low <= _ROUNDING * hidden.abs().mean()
        return torch.where(even, 1.0, (strength - low) / torch.where(even, 1.0, high - low)).mean(0)


def sparse_mask(name: str) -> FromLayers:
    """A learned mask, >= 0, of that name.

    >>> sparse_mask("reward_mask").against
    'reference'
    """
    return FromLayers(name, SparseMask)


activation_mask = FromLayers("activation_mask", ActivationMask)
"""How strong the reference's hidden states are at a token, among those of its answer: in [0, 1]."""


__all__ = [
    "ActivationMask",
    "FromLayers",
    "SparseMask",
    "activation_mask",
    "reads_layers",
    "sparse_mask",
]
