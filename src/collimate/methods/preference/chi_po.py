"""Chi-square preference optimisation."""

from __future__ import annotations

from dataclasses import replace

from collimate import divergences
from collimate.compose import Method
from collimate.methods.preference.f_dpo import f_dpo


def chi_po(beta: float = 0.1) -> Method:
    """-log sigmoid(beta·(t_w - t_l + u_w - u_l)) per pair, t = e^u.

    u = log policy - log reference (nats): `f_dpo` under half Pearson's chi-square and the KL together.
    The paper clips the reward gap at twice the range of rewards; here none is clipped.

    Errors: BadConfig unless beta is finite and above 0. Source: huang:25.

    >>> chi_po().divergence.name
    'chi_squared_kl'
    """
    method = f_dpo(beta, divergences.chi_squared_kl)
    return replace(method, name="chi_po", source="huang:25")
