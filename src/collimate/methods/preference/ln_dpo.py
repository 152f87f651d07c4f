"""DPO on log-ratios per token."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import margins
from collimate.compose import Method
from collimate.lab import World, tilt_per_token
from collimate.methods.preference.dpo import dpo


def ln_dpo(beta: float = 2.0) -> Method:
    """-log sigmoid(beta·(u_w/|y_w| - u_l/|y_l|)) per pair, |y| answer tokens.

    u = log policy - log reference (nats). beta > 0 is per token: |y| times DPO's for an equal pull.
    With Bradley-Terry preferences the population optimum is q·exp(|y|·(r/beta + c)), c from its sum.

    Errors: BadConfig unless beta is finite and above 0; BadComposition without lengths. Source:
    ahrabian:24.

    >>> ln_dpo().margin.name
    'length_normalised_log_ratio_gap'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        strengths = world.strengths()
        if strengths is None:
            return None
        return tilt_per_token(world.reference_log_probs, world.lengths(), strengths / beta)

    return replace(
        dpo(beta),
        name="ln_dpo",
        margin=margins.length_normalised_log_ratio_gap,
        source="ahrabian:24",
        optimum=optimum,
    )
