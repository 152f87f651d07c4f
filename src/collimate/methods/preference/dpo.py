"""Direct preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences
from collimate.compose import Method
from collimate.methods.preference.f_dpo import f_dpo


def dpo(beta: float = 0.1) -> Method:
    """Direct preference optimisation: -log sigmoid(beta·(u_w - u_l)) per pair.

    u = log policy - log reference of the whole answer (nats), w chosen, l rejected. beta > 0: the
    price of one nat of KL(policy‖reference), in units of reward. With Bradley-Terry preferences the
    population optimum is q·exp(r/beta)/Z.

    Errors: BadConfig unless beta is finite and above 0. Source: rafailov:23 eq. 7.

    >>> dpo(beta=0.1).divergence.name
    'reverse_kl'
    """
    return replace(f_dpo(beta, divergences.reverse_kl), name="dpo", source="rafailov:23 eq. 7")
