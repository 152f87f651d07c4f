"""Gaps whose second answer is pushed away or pulled by how the first one fares."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin

ROUNDING = 1e-4
"""nats: where policy and reference are the same model, u_w is 0 but for rounding, and c is 1."""


def _anchored(view: PairLogProbs, divergence: Divergence) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    return chosen - torch.where(chosen >= -ROUNDING, rejected, -rejected)


anchored_log_ratio_gap = Margin(
    name="anchored_log_ratio_gap",
    value=_anchored,
    needs=Needs(view="pairs", reference=True),
    compares=False,
    formula="u_w - where(u_w >= -0.0001, u_l, -u_l)",
    source="zhang:24",
)
"""h = u_w - c·u_l, c = 1 where u_w >= -1e-4, else -1 (nats): no gradient through c. Source: zhang:24."""
