"""What the engine's head can compute per answer token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


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


log_prob = LogProb()
entropy = Entropy()

__all__ = ["Entropy", "LogProb", "entropy", "log_prob"]
