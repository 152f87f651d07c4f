"""The standard Jensen-Shannon divergence."""

from __future__ import annotations

from dataclasses import replace

from collimate.divergences.f_divergence import scaled
from collimate.divergences.generalized_jensen_shannon import generalized_jensen_shannon

jensen_shannon = replace(
    scaled(generalized_jensen_shannon(0.5), 0.25, name="jensen_shannon", source="lin:91"),
    formula="log(2·t/(1 + t))/2",
)
"""½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2, in nats: f' = ½ log(2t/(1 + t)), f''(1) = ¼.

Range [0, log 2]. The f-DPO paper's Jensen-Shannon is twice this one: `methods.f_dpo_js`.
Source: lin:91.
"""
