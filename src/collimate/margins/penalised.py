"""The log-ratio gap, less what the chosen answer has lost."""

from __future__ import annotations

from functools import partial

from jaxtyping import Float
from torch import Tensor

from collimate._checks import at_least_zero
from collimate._types import PairLogProbs
from collimate.axes import Divergence, Needs
from collimate.margins.margin import Margin


def _penalised(view: PairLogProbs, divergence: Divergence, *, lam: float) -> Float[Tensor, " pair"]:
    chosen, rejected = view.log_ratios()
    return chosen - rejected - lam * (-chosen).relu()


def penalised_log_ratio_gap(lam: float) -> Margin:
    """h = u_w - u_l - lam·max(0, -u_w): a chosen answer below its reference costs lam nats a nat.

    While u_w < 0 the chosen answer's gradient is 1 + lam times the rejected one's.

    Errors: BadConfig unless lam is finite and at least 0. Source: pal:24.

    >>> penalised_log_ratio_gap(50).name
    'penalised_log_ratio_gap(50)'
    """
    at_least_zero("lam", lam)
    return Margin(
        name=f"penalised_log_ratio_gap({lam:g})",
        value=partial(_penalised, lam=lam),
        needs=Needs(view="pairs", reference=True),
        source="pal:24",
        formula=f"u_w - u_l - {lam}·max(0, -u_w)",
    )
