"""The squared Hellinger distance."""

from __future__ import annotations

from collimate.divergences.alpha import alpha
from collimate.divergences.f_divergence import scaled

squared_hellinger = scaled(alpha(0.5), 0.25, name="squared_hellinger", source="hellinger:09")
"""1 - Σ √(p·q) = ½ Σ (√p - √q)²: f(t) = ½(1 - √t)², f' = ½(1 - t^-½), f''(1) = ¼.

Range [0, 1], symmetric; a quarter of alpha(½). Source: hellinger:09.
"""
