"""Gaps whose second answer is pushed away or pulled by how the first one fares."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin


def _anchored(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    return chosen - torch.where(chosen >= 0, rejected, -rejected)


anchored_log_ratio_gap = Margin(
    name="anchored_log_ratio_gap",
    value=_anchored,
    needs=Needs(view="pairs", reference=True),
    compares=False,
    formula="u_w - where(u_w >= 0, u_l, -u_l)",
    source="zhang:24",
)
"""h = u_w - c·u_l, c = 1 where u_w >= 0, else -1 (nats): no gradient through c. Source: zhang:24."""
