"""Self-play preference optimisation with hard win rates."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.lab import World, balance
from collimate.methods.preference.dpo import dpo


def sppo_hard(beta: float = 0.001) -> Method:
    """(u_w - 1/(2·beta))² + (u_l + 1/(2·beta))² per pair.

    u = log policy - log reference (nats); in the paper the reference is the previous iterate and the
    targets (P - ½)/beta, P an estimated win rate: hard means P = 1 and 0. Its authors' code halves
    the sum. beta > 0 is the paper's 1/eta. The population optimum would be u = (P - ½)/beta, P the share
    of its pairs that an answer wins, if that were normalised.

    Errors: BadConfig unless beta is finite and above 0. Source: wu:25.

    >>> sppo_hard(0.01).margin.constant
    0.5
    """
    rejected = Summand(
        name="rejected",
        margin=replace(margins.rejected_log_ratio, constant=-0.5),
        loss=losses.squared(unit=positive("beta", beta)),
    )

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels = world.labels()
        won, lost = labels.sum(-1), labels.sum(-2)

        def pull(u: Float[Tensor, "context response"]) -> Float[Tensor, "context response"]:
            return (won - lost) / beta - 2 * (won + lost) * u

        return balance(world.reference_log_probs, pull)

    return replace(
        dpo(beta),
        name="sppo_hard",
        margin=replace(margins.chosen_log_ratio, constant=0.5),
        loss=rejected.loss,
        also=(rejected,),
        source="wu:25",
        optimum=optimum,
    )
