"""DPO with the likelihood of a baseline: pessimism that needs no adversary."""

from __future__ import annotations

from dataclasses import replace

from collimate import losses, margins
from collimate._checks import positive
from collimate.compose import Method, Summand
from collimate.methods.preference.dpo import dpo


def rpo_sft(beta: float = 0.05, eta: float = 0.005) -> Method:
    """-log sigmoid(beta·(u_w - u_l)) - eta·beta·log p(y_w) per pair, whole answers (nats).

    The baseline is the chosen answer. eta > 0 weighs it; the factor beta comes from the adversarial
    form max_p E_p[r] - beta·KL - E_base[r], of which this is the solution.

    Errors: BadConfig unless both are finite and above 0. Source: liu:24b.

    >>> rpo_sft(0.1, 0.01).also[0].coefficient
    0.01
    """
    likelihood = Summand(
        name="nll",
        margin=margins.chosen_log_prob,
        loss=losses.negation,
        coefficient=positive("eta", eta),
    )
    return replace(dpo(beta), name="rpo_sft", also=(likelihood,), source="liu:24b", optimum=None)
