"""DPO under any f-divergence."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import distributions, divergences, losses, margins, tradeoffs
from collimate._checks import positive
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
        return world.optimum(divergence, beta) if world.is_bradley_terry else None

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


def f_dpo_js(beta: float = 0.1) -> Method:
    """The f-DPO paper's Jensen-Shannon loss at beta: `f_dpo(2·beta, jensen_shannon)`.

    The paper's divergence is twice the standard one (at most log 4), so its loss at beta is ours at
    2·beta: -log sigmoid(beta·(log sigmoid(u_w) - log sigmoid(u_l))) per pair.

    Errors: BadConfig unless beta is finite and above 0. Source: wang:24 table 1.

    >>> f_dpo_js(0.1).tradeoff.name
    'fixed(0.2)'
    """
    method = f_dpo(2 * positive("beta", beta), divergences.jensen_shannon)
    return replace(method, name="f_dpo_js", source="wang:24 table 1")
