"""IPO on log-ratios per token."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate.compose import Method
from collimate.lab import World, tilt_per_token
from collimate.methods.preference.dpo import dpo


def ipo_length_normalised(beta: float = 0.1) -> Method:
    """(u_w/|y_w| - u_l/|y_l| - 1/(2·beta))² per pair, |y| answer tokens.

    u = log policy - log reference (nats). What TRL, HALOs and LLaMA-Factory call `ipo`; the paper's
    loss has sums (`ipo`). beta > 0 is per token. The population optimum is q·exp(|y|·(v + c)), v the
    least-squares fit that is `ipo`'s u.

    Errors: BadConfig unless beta is finite and above 0; BadComposition without lengths. Source:
    azar:24 eq. 17, with the mean over tokens of its public implementations.

    >>> ipo_length_normalised(0.1).margin.name
    'length_normalised_log_ratio_gap'
    """

    def optimum(world: World) -> Float[Tensor, "context response"]:
        return tilt_per_token(world.reference_log_probs, world.lengths(), world.regression(beta))

    return replace(
        dpo(beta),
        name="ipo_length_normalised",
        margin=replace(margins.length_normalised_log_ratio_gap, constant=0.5),
        loss=losses.squared(unit=beta),
        source="azar:24 eq. 17",
        optimum=optimum,
    )
