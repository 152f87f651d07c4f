"""What the engine's head can compute per answer token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from collimate._checks import BadComposition, BadConfig
from collimate.axes import Divergence


@dataclass(frozen=True, slots=True)
class LogProb:
    """log softmax(z)[target] in nats: the log-probability of the token that was written."""

    name: str = "log_prob"
    against: Literal["none"] = "none"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """One log-probability per token, <= 0."""
        chosen = logits.gather(-1, target[:, None]).squeeze(-1)
        return chosen - torch.logsumexp(logits, dim=-1)


@dataclass(frozen=True, slots=True)
class Entropy:
    """-Σ_v p(v)·log p(v) in nats, p = softmax(z): how undecided the model is at the token."""

    name: str = "entropy"
    against: Literal["none"] = "none"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """One entropy per token, in [0, log vocab]."""
        log_p = torch.log_softmax(logits, dim=-1)
        return -(log_p.exp() * log_p).sum(-1)


@dataclass(frozen=True, slots=True)
class TopKMass:
    """Σ of the k largest p(v), p = softmax(z): how much of its belief the model puts on few tokens."""

    k: int
    against: Literal["none"] = "none"

    @property
    def name(self) -> str:
        """For example `top_10_mass`."""
        return f"top_{self.k}_mass"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """One mass per token, in (0, 1]; 1 where k is the vocabulary or more."""
        largest = logits.topk(min(self.k, logits.shape[-1]), dim=-1).values
        return (torch.logsumexp(largest, dim=-1) - torch.logsumexp(logits, dim=-1)).exp()


@dataclass(frozen=True, slots=True)
class LogCollision:
    """log Σ_v p(v)², p = softmax(z), in nats: the log-probability that two draws are the same token."""

    name: str = "log_collision"
    against: Literal["none"] = "none"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """One number per token, in [-log vocab, 0]."""
        return torch.logsumexp(2 * torch.log_softmax(logits, dim=-1), dim=-1)


@dataclass(frozen=True, slots=True)
class DivergenceTo:
    """D(p‖q) in nats over the vocabulary, p = softmax(z), q the softmax of another model's logits.

    divergence: any of `collimate.divergences`. against: whose logits q comes from.
    """

    divergence: Divergence
    against: Literal["reference", "teacher"] = "reference"

    @property
    def name(self) -> str:
        """For example `forward_kl_to_reference`."""
        return f"{self.divergence.name}_to_{self.against}"

    def value(
        self,
        logits: Float[Tensor, "token vocab"],
        target: Int[Tensor, " token"],
        other: Float[Tensor, "token vocab"] | None = None,
    ) -> Float[Tensor, " token"]:
        """One divergence per token, >= 0. BadComposition without the other logits."""
        if other is None:
            raise BadComposition(f"the signal '{self.name}' needs the {self.against}'s logits")
        return self.divergence.exact(logits.log_softmax(-1), other.log_softmax(-1))


log_prob = LogProb()
entropy = Entropy()
log_collision = LogCollision()


def top_k_mass(k: int) -> TopKMass:
    """The mass of the `k` most likely tokens. Errors: BadConfig unless k is at least 1.

    >>> top_k_mass(10).name
    'top_10_mass'
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise BadConfig(f"k must be a whole number of at least 1, got {k!r}")
    return TopKMass(k)


def divergence_to_reference(divergence: Divergence) -> DivergenceTo:
    """D(p‖q) at each token, q the frozen reference, over the whole vocabulary.

    >>> from collimate.divergences import forward_kl
    >>> divergence_to_reference(forward_kl).name
    'forward_kl_to_reference'
    """
    return DivergenceTo(divergence)


__all__ = [
    "DivergenceTo",
    "Entropy",
    "LogCollision",
    "LogProb",
    "TopKMass",
    "divergence_to_reference",
    "entropy",
    "log_collision",
    "log_prob",
    "top_k_mass",
]
