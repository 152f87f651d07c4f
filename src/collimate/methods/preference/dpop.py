"""DPO-Positive: the chosen answer may not fall below its reference."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from collimate import margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference.dpo import dpo


def dpop(beta: float = 0.1, lam: float = 50.0) -> Method:
    """-log sigmoid(beta·(u_w - u_l - lam·max(0, -u_w))) per pair; also known as Smaug.

    u = log policy - log reference (nats). lam >= 0. Where every answer is chosen now and then, a large
    lam forbids to lower any: the population optimum is the reference itself.

    Errors: BadConfig unless beta is finite and above 0, lam finite and at least 0. Source: pal:24
    eq. 3.

    >>> dpop().margin.name
    'penalised_log_ratio_gap(50)'
    """

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        labels, q = world.labels(), world.reference_log_probs.exp()
        won, lost = labels.sum(-1), labels.sum(-2)
        # The loss is convex in the logits; at q its slope for mass moved from y' to y is
        # (cost(y') - gain(y))·beta/2.
        gain, cost = (won - lost) / q, ((1 + lam) * won - lost) / q
        held = (gain.amax(-1) <= cost.amin(-1)).all()
        return world.reference_log_probs if held else None

    return replace(
        dpo(beta),
        name="dpop",
        margin=margins.penalised_log_ratio_gap(lam),
        source="pal:24",
        optimum=optimum,
    )
