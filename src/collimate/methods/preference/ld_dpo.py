"""Length-desensitised DPO."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def ld_dpo(beta: float = 0.1, alpha: float = 0.5) -> Method:
    """DPO in which tokens beyond the shorter answer's length count alpha times, alpha in [0, 1].

    l(y) = l_{<=m} + alpha·l_{>m}, m = min(|y_w|, |y_l|), for policy and reference alike. alpha = 1 is
    DPO, 0 compares the shared length only. Among responses of one length it is DPO, and so is its
    population optimum.

    Errors: BadConfig outside the domains; BadComposition for views without tokens. Source: liu:25.

    >>> ld_dpo(0.1, 0.3).margin.name
    'length_desensitised_log_ratio_gap(0.3)'
    """
    margin = margins.length_desensitised_log_ratio_gap(alpha)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        lengths = world.lengths()
        even = alpha == 1 or bool((lengths == lengths[:, :1]).all())
        return dpo(beta).population_optimum(world) if even else None

    return replace(dpo(beta), name="ld_dpo", margin=margin, source="liu:25", optimum=optimum)
