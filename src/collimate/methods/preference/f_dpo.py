"""DPO under any f-divergence."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from collimate import distributions, divergences, losses, margins, tradeoffs
from collimate.compose import Method
from collimate.divergences import FDivergence
from collimate.lab import World


def f_dpo(beta: float = 0.1, divergence: FDivergence = divergences.reverse_kl) -> Method:
    """DPO with another divergence: -log sigmoid(beta·(f'(e^u_w) - f'(e^u_l))) per pair.

    u = log policy - log reference of the whole answer (nats). Legal for every f with
    f'(0+) = -inf; with Bradley-Terry preferences the population optimum maximises
    E_p[r] - beta·D_f(p‖q).

    Args: beta > 0, the price of one nat of the divergence in units of reward; divergence, an
    f-divergence. Errors: BadConfig for beta, BadComposition for a divergence with finite f'(0+).
    Source: wang:24 eq. 8.

    >>> f_dpo(0.1, divergences.forward_kl).name
    'f_dpo'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        strengths = world.strengths()
        return None if strengths is None else world.optimum(divergence, beta, strengths)

    return Method(
        name="f_dpo",
        distribution=distributions.offline_pairs(),
        divergence=divergence,
        margin=margins.log_ratio_gap,
        loss=losses.logistic,
        tradeoff=tradeoffs.fixed(beta),
        source="wang:24 eq. 8",
        optimum=optimum,
    )
