"""Contrastive preference learning."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from collimate import margins
from collimate.compose import Method
from collimate.lab import World
from collimate.methods.preference._reference_free import reference_free


def cpl(alpha: float = 0.1, gamma: float = 1.0, lam: float = 1.0) -> Method:
    """-log sigmoid(alpha·(Σ_t gamma^t log p(y_w,t) - lam·Σ_t gamma^t log p(y_l,t))) per pair.

    Preferences by regret: discounted sums of log-probs are advantages of the optimal policy. No
    reference; alpha > 0 is the temperature, gamma and lam in (0, 1]; lam < 1 is the conservative bias.
    Exact for segments of equal length only, as the value offsets do not cancel otherwise. With lam = 1,
    gamma = 1 and Bradley-Terry preferences the population optimum is exp(r/alpha)/Z.

    Errors: BadConfig outside the domains; BadComposition for views without tokens. Source: hejna:24.

    >>> cpl(0.1, 1.0, 0.5).margin.name
    'discounted_log_prob_gap(1, 0.5)'
    """
    margin = margins.discounted_log_prob_gap(gamma, lam)

    def optimum(world: World) -> Float[Tensor, "context response"] | None:
        strengths = world.strengths()
        whole = lam == 1 and (gamma == 1 or bool((world.lengths() == 1).all()))
        return torch.log_softmax(strengths / alpha, -1) if whole and strengths is not None else None

    method = reference_free("cpl", margin, beta=alpha, source="hejna:24")
    return replace(method, optimum=optimum)
