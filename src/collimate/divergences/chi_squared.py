"""The chi-square divergences."""

from __future__ import annotations

from collimate.divergences.alpha import alpha
from collimate.divergences.f_divergence import scaled

pearson_chi_squared = scaled(alpha(-1.0), 2, name="pearson_chi_squared", source="pearson:00")
"""Σ (p - q)²/q: f(t) = (t - 1)², f' = 2·(t - 1), f''(1) = 2.

Range [0, inf], exponential in u; twice alpha(-1). f'(0+) = -2 is finite: the optimal policy may drop
answers, so no margin reads it. Source: pearson:00.
"""

neyman_chi_squared = scaled(alpha(2.0), 2, name="neyman_chi_squared", source="neyman:49")
"""Σ (p - q)²/p: f(t) = (1 - t)²/t, f' = 1 - t⁻², f''(1) = 2.

Range [0, inf]; Pearson's with p and q exchanged, twice alpha(2). Source: neyman:49.
"""
