"""What presets without a reference have in common."""

from __future__ import annotations

from collimate import distributions, divergences, losses, tradeoffs
from collimate.axes import Margin
from collimate.compose import Method


def reference_free(name: str, margin: Margin, *, beta: float, source: str) -> Method:
    """-log sigmoid(beta·h - target) of a margin that compares with no reference."""
    return Method(
        name=name,
        distribution=distributions.offline_pairs(),
        divergence=divergences.none,
        margin=margin,
        loss=losses.logistic,
        tradeoff=tradeoffs.fixed(beta),
        source=source,
    )
